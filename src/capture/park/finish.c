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

#include <string.h>
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

static void call_quietly(PyObject *function)
{
    PyObject *result = py.PyObject_CallObject(function, NULL);

    py.PyErr_Clear();
    python_drop(result);
}

static long call_long(PyObject *function)
{
    PyObject *result = py.PyObject_CallObject(function, NULL);
    long value = result == NULL ? -1 : py.PyLong_AsLong(result);

    py.PyErr_Clear();
    python_drop(result);
    return value;
}

/* The program called gc.unfreeze(): its objects and the image's can no longer be
 * told apart. Then the collector knows at least as many as were frozen, and else
 * few; asking it for the number of frozen ones would read them all, which takes
 * longer than all the rest of a common end. (What the program froze itself
 * CPython does not collect at its end either.) */
static bool unfrozen_by_program(void)
{
    PyObject *objects = py.PyObject_CallObject(image.tracked, NULL);
    bool answer = objects == NULL || py.PyList_Size(objects) >= image.frozen_count;

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
        call_quietly(image.unfreeze);
    py.PyDict_Clear(image.inside);
    for (size_t i = 0; i < sizeof image.held / sizeof *image.held; i++)
        python_drop(image.held[i]);
}

_Noreturn void finish_fully(struct outcome outcome)
{
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

    return image.full_end || sys == NULL || !python_is(sys, py.PyModule_Type) || other_threads() ||
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

/* PyOS_FiniInterrupts(): from here on Ctrl-C kills. Python's handlers are all
 * one C function, the one found for any signal it handles. */
static void restore_signal_handlers(void)
{
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
        if (handler != NULL && handler != PY_NONE && !python_is(handler, py.PyLong_Type))
            signal(number, SIG_DFL);
        py.PyErr_Clear();
        python_drop(handler);
        python_drop(item);
    }
    python_drop(getter);
}

/* finalize_modules_delete_special(). The containers themselves belong to the
 * image: image.keep holds them. */
static void clear_special_names(void)
{
    static const char *const deleted[] = {
        "path", "argv", "ps1", "ps2", "last_exc", "last_type", "last_value", "last_traceback",
        "path_hooks", "path_importer_cache", "meta_path", "__interactivehook__",
    };
    static const char *const streams[] = {
        "stdin", "__stdin__", "stdout", "__stdout__", "stderr", "__stderr__",
    };

    py.PyDict_SetItemString(py.PyEval_GetBuiltins(), "_", PY_NONE);
    for (size_t i = 0; i < sizeof deleted / sizeof *deleted; i++)
        if (py.PySys_GetObject(deleted[i]) != NULL)
            py.PySys_SetObject(deleted[i], PY_NONE);
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i += 2) {
        PyObject *original = py.PySys_GetObject(streams[i + 1]);

        py.PySys_SetObject(streams[i], original == NULL ? PY_NONE : original);
    }
    py.PySys_SetObject("is_finalizing", image.is_finalizing);
}

/* Takes the program's modules out of sys.modules, in the order of import, and
 * returns weak references to them. Those of the image stay. */
static PyObject *remove_modules(void)
{
    PyObject *modules = py.PyImport_GetModuleDict();
    PyObject *references = py.PyList_New(0);
    PyObject *name, *found;
    Py_ssize_t position = 0;

    while (py.PyDict_Next(modules, &position, &name, &found)) {
        PyObject *reference;

        if (found == py.PyDict_GetItem(image.modules, name) || !python_is(found, py.PyModule_Type))
            continue;
        reference = py.PyWeakref_NewRef(found, NULL);
        if (reference != NULL)
            py.PyList_Append(references, reference);
        python_drop(reference);
        py.PyErr_Clear();
        py.PyDict_SetItem(modules, name, PY_NONE);
    }
    return references;
}

/* CPython empties sys.modules at this point, so that nothing can be imported
 * any more. Here it stays as it is: emptying it would write to every module. */
static PyObject *import_nothing(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    (void)self, (void)arguments, (void)keywords;
    py.PyErr_SetString(py.PyExc_ImportError,
                       "sys.meta_path is None, Python is likely shutting down");
    return NULL;
}

static void stop_imports(void)
{
    static struct method_definition definition = {
        "__import__", import_nothing, PY_VARARGS_KEYWORDS, NULL,
    };
    PyObject *function = py.PyCFunction_NewEx(&definition, NULL, NULL);

    if (function != NULL)
        py.PyDict_SetItemString(py.PyEval_GetBuiltins(), "__import__", function);
    python_drop(function);
}

/* _PyModule_ClearDict(): first the names with one underscore, then the others. */
static void clear_names(PyObject *dict, bool private_names)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;

    while (py.PyDict_Next(dict, &position, &name, &value)) {
        const char *text;

        if (value == PY_NONE || !python_is(name, py.PyUnicode_Type))
            continue;
        text = py.PyUnicode_AsUTF8(name);
        py.PyErr_Clear();
        if (text != NULL && (private_names ? text[0] == '_' && text[1] != '_'
                                           : strcmp(text, "__builtins__") != 0))
            py.PyDict_SetItem(dict, name, PY_NONE);
    }
}

/* Modules that are still referenced lose their contents, the last one first. */
static void clear_modules(PyObject *references)
{
    for (Py_ssize_t i = py.PyList_Size(references); i-- > 0;) {
        PyObject *found = py.PyWeakref_GetObject(py.PyList_GetItem(references, i));

        if (found == NULL || found == PY_NONE)
            continue;
        py.Py_IncRef(found);
        clear_names(py.PyModule_GetDict(found), true);
        clear_names(py.PyModule_GetDict(found), false);
        python_drop(found);
    }
    python_drop(references);
}

/* Names that the program added to builtins; CPython restores a copy. */
static void clear_builtins(void)
{
    PyObject *builtins = py.PyEval_GetBuiltins();
    PyObject *name, *value;
    Py_ssize_t position = 0, count = 0;

    while (py.PyDict_Next(builtins, &position, &name, &value))
        if (++count > image.builtins_size && value != PY_NONE)
            py.PyDict_SetItem(builtins, name, PY_NONE);
}

static bool is_standard_stream(PyObject *object)
{
    static const char *const names[] = {"__stdin__", "__stdout__", "__stderr__"};

    for (int i = 0; i < 3; i++)
        if (py.PySys_GetObject(names[i]) == object ||
            py.PyList_GetItem(image.raw_streams, i) == object)
            return true;
    return false;
}

/* Which round finishes an object: 0 not a stream, 1 text, 2 buffered, 3 raw;
 * -1 nothing to finish. A text stream must be flushed before its buffer is. */
static int round_of(PyObject *type)
{
    if (!py.PyObject_HasAttrString(type, "__del__"))
        return -1;
    for (int i = 0; i < 3; i++)
        if (py.PyType_IsSubtype(type, py.PyTuple_GetItem(image.stream_types, i)))
            return i + 1;
    return 0;
}

/* What the program made and something in the image still refers to: the
 * collector cannot free it, and CPython would have. */
static void finish_survivors(void)
{
    PyObject *objects = py.PyObject_CallObject(image.tracked, NULL);
    Py_ssize_t count = objects == NULL ? 0 : py.PyList_Size(objects);
    struct {
        PyObject *type;
        int round;
    } seen[256] = {0};

    for (int round = 0; round <= 3; round++) {
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *object = py.PyList_GetItem(objects, i);
            PyObject *type = py.PyObject_Type(object);
            unsigned slot = ((uintptr_t)type >> 4) % 256;

            if (seen[slot].type != type) {
                seen[slot].type = type;
                seen[slot].round = round_of(type);
            }
            python_drop(type); /* the object keeps it */
            if (seen[slot].round == round && !is_standard_stream(object))
                py.PyObject_CallFinalizer(object);
        }
    }
    py.PyErr_Clear();
}

_Noreturn void finish(struct outcome outcome)
{
    PyObject *references;

    if (is_out_of_the_ordinary())
        finish_fully(outcome);
    shut_threading_down();
    call_quietly(image.atexit_run); /* prints errors; 3.9 also raises the last one */
    if (other_threads() || !flush_standard_streams())
        finish_fully(outcome);
    restore_signal_handlers();
    py.PyGC_Collect();
    clear_special_names();
    references = remove_modules();
    stop_imports();
    clear_builtins();
    call_quietly(image.collect);
    clear_modules(references);
    call_quietly(image.collect);
    finish_survivors();
    flush_standard_streams();
    leave_leanly(status_of(outcome));
}
