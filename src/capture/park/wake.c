/* The order of waking: first the process, then Python, then the program, or the
 * recipe by which an image grows. */
#include "park.h"

#include <string.h>
#include <unistd.h>

/* os.environ and posix.environ as they are built at start-up: bytes, the first
 * of two wins, with the LC_CTYPE that the coercion of the C locale has set. Both
 * were emptied before parking. What modules have changed in os.environ while
 * they were imported comes on top. */
static void fill_environ(char **variables)
{
    for (char **entry = variables; *entry != NULL; entry++) {
        const char *value = strchr(*entry, '=');
        PyObject *name, *text;

        if (value == NULL)
            continue;
        name = py.PyBytes_FromStringAndSize(*entry, value - *entry);
        text = py.PyBytes_FromStringAndSize(value + 1, (Py_ssize_t)strlen(value + 1));
        if (name == NULL || text == NULL ||
            py.PyDict_SetDefault(image.environ, name, text) == NULL)
            gate_fail("no memory for the environment");
        python_drop(name);
        python_drop(text);
    }
    if (image.coerced_lc_ctype != NULL) {
        PyObject *text = py.PyBytes_FromStringAndSize(
            image.coerced_lc_ctype, (Py_ssize_t)strlen(image.coerced_lc_ctype));
        PyObject *name = py.PyBytes_FromStringAndSize("LC_CTYPE", 8);

        if (name == NULL || text == NULL || py.PyDict_SetItem(image.environ, name, text) == -1)
            gate_fail("no memory for the environment");
        python_drop(name);
        python_drop(text);
    }
    if (image.os_environ == PY_NONE)
        return;
    if (py.PyDict_Update(image.os_environ, image.environ) == -1 ||
        py.PyDict_Update(image.os_environ, image.environ_set) == -1)
        gate_fail("os.environ cannot be filled");
    for (Py_ssize_t i = 0; i < py.PyList_Size(image.environ_unset); i++)
        if (py.PyDict_DelItem(image.os_environ, py.PyList_GetItem(image.environ_unset, i)) == -1)
            py.PyErr_Clear(); /* the caller has not set it */
}

static void fill_list(PyObject *list, char **strings)
{
    PyObject *fresh;

    if (list == PY_NONE)
        return;
    fresh = py.PyList_New(0);
    for (; *strings != NULL; strings++) {
        PyObject *text = py.PyUnicode_DecodeFSDefault(*strings);

        if (text == NULL || py.PyList_Append(fresh, text) == -1)
            gate_fail("cannot decode the command line");
        python_drop(text);
    }
    if (py.PyList_SetSlice(list, 0, py.PyList_Size(list), fresh) == -1)
        gate_fail("cannot fill sys.argv");
    python_drop(fresh);
}

static void add_path0(PyObject *path0)
{
    if (path0 != NULL && image.path_index >= 0 &&
        py.PyList_Insert(image.path, image.path_index, path0) == -1)
        gate_fail("cannot extend sys.path");
    path0_replace(path0);
    python_drop(path0);
}

static void append_number(PyObject *list, long number)
{
    PyObject *item = py.PyLong_FromLong(number);

    py.PyList_Append(list, item);
    python_drop(item);
}

/* Those that inside/ has to initialise. To grow, all are: the grown image is to be the
 * same whatever its builder's streams are. */
static PyObject *new_streams(const struct request *request)
{
    PyObject *list = py.PyList_New(0);

    for (int standard = 0; standard <= 2; standard++)
        if (request->head.kind == KIND_GROW || !streams_connect(standard))
            append_number(list, standard);
    return list;
}

static PyObject *signal_list(uint64_t signals)
{
    PyObject *list = py.PyList_New(0);

    for (int number = 1; number < NSIG; number++)
        if (signals >> (number - 1) & 1)
            append_number(list, number);
    return list;
}

static _Noreturn void fail_with_exception(const char *what)
{
    PyObject *type, *value, *traceback, *text;
    const char *words;

    py.PyErr_Fetch(&type, &value, &traceback);
    py.PyErr_NormalizeException(&type, &value, &traceback);
    text = py.PyObject_Str(value == NULL ? type : value);
    words = text == NULL ? NULL : py.PyUnicode_AsUTF8(text);
    gate_fail("%s: %s", what, words == NULL ? "an exception" : words);
}

/* Signals are blocked in this thread, but one may reach another thread, and
 * Python's handler then interrupts our own code. It is kept for the program. */
PyObject *wake_call(PyObject *function, PyObject *arguments, const char *what, bool *interrupted)
{
    for (int attempt = 0; attempt < 8; attempt++) {
        PyObject *result = py.PyObject_CallObject(function, arguments);

        if (result != NULL)
            return result;
        if (!py.PyErr_ExceptionMatches(py.PyExc_KeyboardInterrupt))
            break;
        py.PyErr_Clear();
        *interrupted = true;
    }
    fail_with_exception(what);
}

/* Signals that are not Python's to adopt: two it ignores whatever its caller does, and
 * the C library's own cannot be set (see duties.c). */
static uint64_t unasked(void)
{
    uint64_t signals = 1ull << (SIGPIPE - 1) | 1ull << (SIGXFSZ - 1);

    for (int number = 32; number < SIGRTMIN; number++)
        signals |= 1ull << (number - 1);
    return signals;
}

static bool connect_python(const struct request *request)
{
    uint64_t ignored = request->head.ignored & ~origin.ignored & ~unasked();
    uint64_t unignored = origin.ignored & ~request->head.ignored & ~unasked();
    PyObject *streams = new_streams(request);
    bool interrupted = false;

    fill_environ(request->environment);
    fill_list(image.argv, request->argv);
    fill_list(image.orig_argv, request->orig_argv);
    if (py.PyList_Size(streams) > 0 || ignored || unignored || duties_zone_changed()) {
        PyObject *arguments = py.PyTuple_New(4);

        py.PyTuple_SetItem(arguments, 0, streams);
        py.PyTuple_SetItem(arguments, 1, signal_list(ignored));
        py.PyTuple_SetItem(arguments, 2, signal_list(unignored));
        py.PyTuple_SetItem(arguments, 3, py.PyBool_FromLong(duties_zone_changed()));
        python_drop(wake_call(image.wake, arguments, "waking Python", &interrupted));
        python_drop(arguments);
    }
    return interrupted;
}

/* To a library this process is a copy, as after a fork: the hooks that it
 * registered for that case are the ones to run. They find everything renewed. */
static bool renew_python(void)
{
    bool interrupted = renew();

    py.PyOS_BeforeFork();
    py.PyOS_AfterFork_Child();
    for (Py_ssize_t i = 0; i < py.PyList_Size(image.hook_lists); i++) {
        PyObject *entry = py.PyList_GetItem(image.hook_lists, i);
        PyObject *hooks = py.PyTuple_GetItem(entry, 0);

        if (py.PyList_SetSlice(hooks, 0, py.PyList_Size(hooks), py.PyTuple_GetItem(entry, 1)) == -1)
            gate_fail("the hooks for forks cannot be put back");
    }
    if (image.after_restore != PY_NONE)
        python_drop(wake_call(image.after_restore, NULL, "a hook after restoring", &interrupted));
    return interrupted;
}

static _Noreturn void grow(const struct request *request)
{
    bool interrupted = connect_python(request);

    duties_keep(request);
    if (getsid(0) == 0)
        setsid(); /* a session whose leader CRIU cannot see is not dumped */
    if (request->head.flags & FLAG_AWAIT_GO)
        gate_await_go();
    duties_signal_mask(request);
    if (interrupted)
        py.PyErr_SetInterrupt();
    capture_more(request->text);
}

_Noreturn void wake(void)
{
    struct request request = request_receive();
    struct program program;
    bool interrupted;

    duties_process(&request);
    if (request.head.kind == KIND_GROW)
        grow(&request);
    /* The streams first, as in CPython: where a standard descriptor is closed, the
     * script that is opened next takes its number. */
    interrupted = connect_python(&request);
    program = program_prepare(&request);
    add_path0(program_path0(&program, &request));
    interrupted = renew_python() || interrupted;
    record_remember(&request);
    collector_begin();
    if (gate_is_there()) {
        if (request.head.flags & FLAG_AWAIT_GO)
            gate_await_go();
        /* In this order: a signal that has waited may stop or end the process, and
         * pyrun must know by then that the program has begun. If it cannot be told it
         * runs the program itself. */
        if (!gate_say("started\n", -1))
            _exit(125);
        gate_close();
    }
    direct_await_threads();
    duties_signal_mask(&request);
    if (interrupted)
        py.PyErr_SetInterrupt();
    finish(program_run(&program));
}
