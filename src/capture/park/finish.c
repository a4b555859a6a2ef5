/* The end of the interpreter.
 *
 * Py_FinalizeEx() frees every object there is, and so writes to every page of
 * the image. What must happen at the end is less: threads joined, atexit
 * handlers run, streams flushed, and all that the program made after waking
 * finished. The objects of the image are frozen (gc.freeze), so the collector
 * sees the program's objects and no others.
 *
 * The order is Py_FinalizeEx's. Whatever is out of the ordinary (threads still
 * alive, tracing, auditing, subinterpreters, a stream that cannot be flushed) is left to
 * Py_FinalizeEx itself, which is slow but right by definition.
 */
#include "park.h"

#include <stdlib.h>
#include <unistd.h>

/* exit_sigint(): a shell wants to see who died of Ctrl-C. */
static int status_of(struct outcome outcome)
{
    if (!outcome.interrupted)
        return outcome.status;
    fflush(stdout);
    fflush(stderr);
    signal(SIGINT, SIG_DFL);
    kill(getpid(), SIGINT);
    return 128 + SIGINT; /* it is blocked */
}

static long call_long(PyObject *function)
{
    PyObject *result = py.PyObject_CallObject(function, NULL);
    long value = result == NULL ? -1 : py.PyLong_AsLong(result);

    py.PyErr_Clear();
    python_drop(result);
    return value;
}

/* What the image froze is collected again, and what we kept is let go: an
 * object that stays referenced is never finished, not even sys.stdout. */
static void let_go(void)
{
    if (image.inside == NULL)
        return;
    collector_end();
    py.PyDict_Clear(image.inside);
    for (size_t i = 0; i < sizeof image.held / sizeof *image.held; i++)
        python_drop(image.held[i]);
    image.inside = NULL;
}

void finish_prepare_fully(void)
{
    PyObject *type, *value, *traceback;

    py.PyErr_Fetch(&type, &value, &traceback);
    record_modules();
    let_go();
    image.full_end = true;
    py.PyErr_Restore(type, value, traceback);
}

_Noreturn void finish_fully(struct outcome outcome)
{
    finish_prepare_fully();
    if (py.Py_FinalizeEx() < 0)
        outcome.status = 120;
    exit(status_of(outcome));
}

static bool is_set(PyObject *owner, const char *getter)
{
    PyObject *value = py.PyObject_CallMethod(owner, getter, NULL);
    bool answer = value == NULL || (value != PY_NONE && py.PyObject_IsTrue(value) != 0);

    py.PyErr_Clear();
    python_drop(value);
    return answer;
}

/* Py_AtExit holds 32 functions: if there is room for fewer, somebody waits for
 * the end of finalisation. */
static void nothing(void)
{
}

static bool has_exit_functions(void)
{
    int room = 0;

    while (room < 32 && py.Py_AtExit(nothing) == 0)
        room++;
    return room < 32;
}

static PyObject *module(const char *name)
{
    return py.PyDict_GetItemString(py.PyImport_GetModuleDict(), name);
}

static bool collector_is_observed(void)
{
    PyObject *gc = module("gc");
    PyObject *callbacks = gc == NULL ? NULL : py.PyObject_GetAttrString(gc, "callbacks");
    PyObject *garbage = gc == NULL ? NULL : py.PyObject_GetAttrString(gc, "garbage");
    bool answer = callbacks == NULL || garbage == NULL || py.PyObject_IsTrue(callbacks) != 0 ||
                  py.PyObject_IsTrue(garbage) != 0 || is_set(gc, "get_debug");

    python_drop(callbacks);
    python_drop(garbage);
    return answer;
}

static bool other_threads(void)
{
    void *first = py.PyInterpreterState_ThreadHead(py.PyInterpreterState_Head());

    return py.PyThreadState_Next(first) != NULL || call_long(image.thread_count) > 0;
}

/* A hook for audit events sees what we ask the interpreter, and the events of
 * Py_FinalizeEx(). CPython builds no arguments, which would fail here, if nobody
 * listens. */
static bool is_audited(void)
{
    bool answer = py.PySys_Audit("end", "O", NULL) == -1;

    py.PyErr_Clear();
    return answer;
}

/* The program let it go: an object that nobody has any more is flushed at once, or
 * at least once the image lets it go too. */
static bool is_dropped(const char *stream)
{
    PyObject *object = py.PySys_GetObject(stream);

    return object == NULL || object == PY_NONE;
}

static bool is_out_of_the_ordinary(void)
{
    PyObject *sys = module("sys");

    return image.full_end || sys == NULL || !python_is(sys, py.PyModule_Type) || is_audited() ||
           other_threads() ||
           is_set(sys, "gettrace") || is_set(sys, "getprofile") || collector_is_observed() ||
           py.PyInterpreterState_Next(py.PyInterpreterState_Head()) != NULL ||
           is_dropped("__stdout__") || is_dropped("__stderr__") ||
           collector_is_thawed() || has_exit_functions();
}

/* wait_for_thread_shutdown() when nobody is left to wait for: runs what
 * concurrent.futures and others registered with threading. */
static void shut_threading_down(void)
{
    PyObject *threading = module("threading");

    if (threading != NULL && python_call_method(threading, "_shutdown") == -1)
        py.PyErr_WriteUnraisable(threading);
}

/* flush_std_files(), but silent: on failure Py_FinalizeEx meets it again and
 * says so in the words of its version. */
static bool flush_standard_streams(void)
{
    static const char *const names[] = {"stdout", "stderr"};
    bool good = true;

    for (int i = 0; i < 2; i++) {
        PyObject *stream = py.PySys_GetObject(names[i]);
        PyObject *closed;
        bool skip;

        if (stream == NULL || stream == PY_NONE)
            continue;
        closed = py.PyObject_GetAttrString(stream, "closed");
        skip = closed != NULL && py.PyObject_IsTrue(closed) > 0;
        python_drop(closed);
        py.PyErr_Clear();
        if (!skip && python_call_method(stream, "flush") == -1)
            good = false;
        py.PyErr_Clear();
    }
    return good;
}

/* What CPython says of a signal whose handler is gone: _thread.interrupt_main() still
 * sends one. */
static PyObject *ignore_signal(PyObject *self, PyObject *arguments)
{
    char text[64];

    (void)self;
    if (py.hexversion >= PY_3_10) {
        snprintf(text, sizeof text, "Signal %ld ignored due to race condition",
                 py.PyLong_AsLong(py.PyTuple_GetItem(arguments, 0)));
        py.PyErr_SetString(py.PyExc_OSError, text);
        py.PyErr_WriteUnraisable(PY_NONE);
    }
    py.Py_IncRef(PY_NONE);
    return PY_NONE;
}

/* PyOS_FiniInterrupts(): from here on Ctrl-C kills. Handlers that C code has set
 * stay: Python knows nothing of those (None). */
static void restore_signal_handlers(void)
{
    static struct method_definition definition = {
        "ignore_signal", (void (*)(void))ignore_signal, PY_VARARGS, NULL,
    };
    PyObject *ignoring = py.PyCFunction_NewEx(&definition, NULL, NULL);
    PyObject *signals = module("_signal");
    PyObject *getter = signals ? py.PyObject_GetAttrString(signals, "getsignal") : NULL;

    for (int number = 1; getter != NULL && number < NSIG; number++) {
        struct sigaction action;
        PyObject *item, *handler;

        if (sigaction(number, NULL, &action) == -1 || action.sa_handler == SIG_DFL ||
            action.sa_handler == SIG_IGN)
            continue;
        item = py.PyLong_FromLong(number);
        handler = py.PyObject_CallFunctionObjArgs(getter, item, NULL);
        if (handler != NULL && handler != PY_NONE && !python_is(handler, py.PyLong_Type)) {
            python_drop(py.PyObject_CallMethod(signals, "signal", "OO", item, ignoring));
            signal(number, SIG_DFL);
        }
        py.PyErr_Clear();
        python_drop(handler);
        python_drop(item);
    }
    python_drop(getter);
    python_drop(ignoring);
}

_Noreturn void finish(struct outcome outcome)
{
    if (is_out_of_the_ordinary())
        finish_fully(outcome);
    shut_threading_down();
    python_call_quietly(image.atexit_run); /* prints errors; 3.9 also raises the last one */
    if (other_threads())
        finish_fully(outcome);
    clear_announce();
    if (!flush_standard_streams())
        finish_fully(outcome);
    record_modules();
    restore_signal_handlers();
    py.PyGC_Collect();
    if (collector_is_observed()) /* it has found what cannot be freed, and will say so */
        finish_fully(outcome);
    clear_program();
    flush_standard_streams();
    leave_leanly(status_of(outcome));
}
