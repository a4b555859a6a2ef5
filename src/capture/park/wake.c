/* The order of waking: first the process, then Python, then the program. */
#include "park.h"

#include <string.h>

extern char **environ;

/* As posix.environ is built at start-up: bytes, the first of two wins. */
static PyObject *environment_dict(void)
{
    PyObject *dict = py.PyDict_New();

    for (char **entry = environ; *entry != NULL; entry++) {
        const char *value = strchr(*entry, '=');
        PyObject *name, *text;

        if (value == NULL)
            continue;
        name = py.PyBytes_FromStringAndSize(*entry, value - *entry);
        text = py.PyBytes_FromStringAndSize(value + 1, (Py_ssize_t)strlen(value + 1));
        if (name == NULL || text == NULL || py.PyDict_SetDefault(dict, name, text) == NULL)
            gate_fail("no memory for the environment");
        python_drop(name);
        python_drop(text);
    }
    return dict;
}

static PyObject *decoded_list(char **strings)
{
    PyObject *list = py.PyList_New(0);

    for (; *strings != NULL; strings++) {
        PyObject *text = py.PyUnicode_DecodeFSDefault(*strings);

        if (text == NULL || py.PyList_Append(list, text) == -1)
            gate_fail("cannot decode the command line");
        python_drop(text);
    }
    return list;
}

static PyObject *signal_list(uint64_t signals)
{
    PyObject *list = py.PyList_New(0);

    for (int number = 1; number < NSIG; number++) {
        if (signals >> (number - 1) & 1) {
            PyObject *item = py.PyLong_FromLong(number);

            py.PyList_Append(list, item);
            python_drop(item);
        }
    }
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
static bool call_through_interrupts(PyObject *function, PyObject *arguments, const char *what)
{
    bool interrupted = false;

    for (int attempt = 0; attempt < 8; attempt++) {
        PyObject *result = py.PyObject_CallObject(function, arguments);

        if (result != NULL) {
            python_drop(result);
            return interrupted;
        }
        if (!py.PyErr_ExceptionMatches(py.PyExc_KeyboardInterrupt))
            break;
        py.PyErr_Clear();
        interrupted = true;
    }
    fail_with_exception(what);
}

static bool wake_python(const struct request *request, PyObject *path0)
{
    uint64_t ignored = request->head.ignored;
    PyObject *arguments = py.PyTuple_New(7);
    bool interrupted;

    if (path0 == NULL) {
        path0 = PY_NONE;
        py.Py_IncRef(path0);
    }
    py.PyTuple_SetItem(arguments, 0, decoded_list(request->argv));
    py.PyTuple_SetItem(arguments, 1, decoded_list(request->orig_argv));
    py.PyTuple_SetItem(arguments, 2, path0);
    py.PyTuple_SetItem(arguments, 3, environment_dict());
    py.PyTuple_SetItem(arguments, 4, signal_list(ignored & ~origin.ignored));
    py.PyTuple_SetItem(arguments, 5, signal_list(origin.ignored & ~ignored));
    py.PyTuple_SetItem(arguments, 6, py.PyBool_FromLong(duties_zone_changed()));
    interrupted = call_through_interrupts(image.wake, arguments, "waking Python");
    python_drop(arguments);

    /* To a library this process is a copy, as after a fork: the hooks that it
     * registered for that case are the ones to run. */
    py.PyOS_BeforeFork();
    py.PyOS_AfterFork_Child();
    return call_through_interrupts(image.renew, NULL, "renewing modules") || interrupted;
}

_Noreturn void wake(void)
{
    struct request request = request_receive();
    struct program program;
    bool interrupted;

    duties_process(&request);
    program = program_prepare(&request);
    interrupted = wake_python(&request, program_path0(&program, &request));
    duties_signal_mask(&request);
    gate_say("started\n", -1);
    gate_close();
    if (interrupted)
        py.PyErr_SetInterrupt();
    finish(program_run(&program));
}
