/* The end of the interpreter.
 *
 * Py_FinalizeEx() frees every object there is, and so writes to every page of
 * the image. What must happen at the end is less: threads joined, atexit
 * handlers run, streams flushed, and all that the program made after waking
 * finished. The objects of the image are frozen (gc.freeze), so the collector
 * sees the program's objects and no others.
 *
 * The order is Py_FinalizeEx's. Whatever is out of the ordinary (threads still
 * alive, tracing, subinterpreters, a stream that cannot be flushed) is left to
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

static PyObject *note_audited(void *answer)
{
    *(bool *)answer = true;
    py.PyErr_SetString(py.PyExc_RuntimeError, "nobody is to hear of this");
    return NULL;
}

/* Would the program hear of what we ask the interpreter? An event's arguments are made
 * only if somebody listens, and when that fails nobody is told. */
static bool is_audited(void)
{
    bool answer = false;

    py.PySys_Audit("pyimg", "O&", note_audited, &answer);
    py.PyErr_Clear();
    return answer;
}

/* The program called gc.unfreeze(): its objects and the image's can no longer be
 * told apart. Then the collector knows at least as many as were frozen, and else
 * few; asking it for the number of frozen ones would read them all, which takes
 * longer than all the rest of a common end. (What the program froze itself
 * CPython does not collect at its end either.) */
static bool unfrozen_by_program(void)
{
    PyObject *objects;
    bool answer;

    if (is_audited()) /* it would hear of gc.get_objects */
        return call_long(image.frozen) < image.frozen_count;
    objects = py.PyObject_CallObject(image.tracked, NULL);
    answer = objects == NULL || py.PyList_Size(objects) >= image.frozen_count;

    py.PyErr_Clear();
    python_drop(objects);
    return answer;
}

/* What the image froze is collected again, and what we kept is let go: an
 * object that stays referenced is never finished, not even sys.stdout. */
static void let_go(void)
{
    if (image.inside == NULL)
        return;
    if (!unfrozen_by_program())
        python_call_quietly(image.unfreeze);
    py.PyDict_Clear(image.inside);
    for (size_t i = 0; i < sizeof image.held / sizeof *image.held; i++)
        python_drop(image.held[i]);
}

_Noreturn void finish_fully(struct outcome outcome)
{
    record_modules();
    let_go();
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
    PyObject *frames = py.PyObject_CallMethod(module("sys"), "_current_frames", NULL);
    bool answer = frames == NULL || py.PyDict_Size(frames) > 0 || call_long(image.thread_count) > 0;

    py.PyErr_Clear();
    python_drop(frames);
    return answer;
}

static bool is_out_of_the_ordinary(void)
{
    PyObject *sys = module("sys");

    return image.full_end || is_audited() || sys == NULL || !python_is(sys, py.PyModule_Type) ||
           other_threads() ||
           is_set(sys, "gettrace") || is_set(sys, "getprofile") || collector_is_observed() ||
           py.PyInterpreterState_Next(py.PyInterpreterState_Head()) != NULL ||
           unfrozen_by_program() || has_exit_functions();
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
