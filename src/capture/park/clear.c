/* What a program made after waking, finished as finalize_modules() of CPython
 * finishes everything: its modules taken out of sys.modules and emptied, cycles
 * collected, and what something in the image still refers to finalised.
 *
 * The image's own modules and objects are left as they are.
 */
#include "park.h"

#include <string.h>

/* What sys.is_finalizing() says cannot be changed from outside, and a program may have
 * kept the function: so before the recipe ours takes its place, the same to look at. */
static python_function *is_finalizing;
static bool finalizing;

static PyObject *is_finalizing_now(PyObject *module, PyObject *nothing)
{
    return finalizing ? py.PyBool_FromLong(1) : is_finalizing(module, nothing);
}

/* Names in `sys` as objects: to make those at the end would write to the tables in which
 * the interpreter has all such names. */
static const char *const deleted_texts[] = {
    "path", "argv", "ps1", "ps2", "last_exc", "last_type", "last_value", "last_traceback",
    "path_hooks", "path_importer_cache", "meta_path", "__interactivehook__",
};
static const char *const stream_texts[] = {
    "stdin", "__stdin__", "stdout", "__stdout__", "stderr", "__stderr__",
};

enum {
    DELETED = sizeof deleted_texts / sizeof *deleted_texts,
    STREAMS = sizeof stream_texts / sizeof *stream_texts,
};

static PyObject *sys_names; /* sys.__dict__ */
static PyObject *deleted[DELETED], *streams[STREAMS];

static void prepare_names(void)
{
    sys_names = py.PyModule_GetDict(py.PyImport_AddModule("sys"));
    for (int i = 0; i < DELETED; i++)
        deleted[i] = py.PyUnicode_InternFromString(deleted_texts[i]);
    for (int i = 0; i < STREAMS; i++)
        streams[i] = py.PyUnicode_InternFromString(stream_texts[i]);
}

void clear_prepare(void)
{
    static struct method_definition definition = {
        "is_finalizing", (void (*)(void))is_finalizing_now, PY_NOARGS,
        "is_finalizing($module, /)\n--\n\nReturn True if Python is exiting.",
    };
    PyObject *name = py.PyUnicode_FromString("sys");
    PyObject *function =
        py.PyCFunction_NewEx(&definition, py.PyImport_AddModule("sys"), name);

    prepare_names();
    is_finalizing = py.PyCFunction_GetFunction(py.PySys_GetObject("is_finalizing"));
    if (is_finalizing != NULL && function != NULL)
        py.PySys_SetObject("is_finalizing", function);
    py.PyErr_Clear();
    python_drop(function);
    python_drop(name);
}

void clear_announce(void)
{
    finalizing = true;
}

/* finalize_modules_delete_special(). The containers themselves belong to the
 * image, which holds them: image.containers. */
static void clear_special_names(void)
{
    py.PyDict_SetItemString(py.PyEval_GetBuiltins(), "_", PY_NONE);
    for (int i = 0; i < DELETED; i++)
        if (py.PyDict_GetItem(sys_names, deleted[i]) != NULL)
            py.PyDict_SetItem(sys_names, deleted[i], PY_NONE);
    for (int i = 0; i < STREAMS; i += 2) {
        PyObject *original = py.PyDict_GetItem(sys_names, streams[i + 1]);

        py.PyDict_SetItem(sys_names, streams[i], original == NULL ? PY_NONE : original);
    }
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
        "__import__", (void (*)(void))import_nothing, PY_VARARGS_KEYWORDS, NULL,
    };
    PyObject *function = py.PyCFunction_NewEx(&definition, NULL, NULL);

    if (function != NULL)
        py.PyDict_SetItemString(py.PyEval_GetBuiltins(), "__import__", function);
    python_drop(function);
}

/* _PyModule_ClearDict(): first the names with one underscore, then the others; here all
 * but the first ones. Says whether there were any. */
static bool clear_names(PyObject *dict, Py_ssize_t first, bool private_names)
{
    PyObject *name, *value;
    Py_ssize_t position = 0, count = 0;
    bool any = false;

    while (py.PyDict_Next(dict, &position, &name, &value)) {
        const char *text;

        if (++count <= first || value == PY_NONE || !python_is(name, py.PyUnicode_Type))
            continue;
        text = py.PyUnicode_AsUTF8(name);
        py.PyErr_Clear();
        if (text != NULL && (private_names ? text[0] == '_' && text[1] != '_'
                                           : strcmp(text, "__builtins__") != 0)) {
            py.PyDict_SetItem(dict, name, PY_NONE);
            any = true;
        }
    }
    return any;
}

/* Modules that are still referenced lose their contents, the last one first. */
static void clear_modules(PyObject *references)
{
    for (Py_ssize_t i = py.PyList_Size(references); i-- > 0;) {
        PyObject *found = py.PyWeakref_GetObject(py.PyList_GetItem(references, i));

        if (found == NULL || found == PY_NONE)
            continue;
        py.Py_IncRef(found);
        clear_names(py.PyModule_GetDict(found), 0, true);
        clear_names(py.PyModule_GetDict(found), 0, false);
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

/* The names that the program added to sys go last: when the streams are gone, so that
 * what ends with them says nothing. What stays in other modules of the image has the
 * streams, as it would have ended before. */
static void clear_sys(void)
{
    PyObject *kept[STREAMS];

    clear_names(sys_names, image.sys_size, true);
    if (py.PyDict_Size(sys_names) <= image.sys_size)
        return;
    for (int i = 0; i < STREAMS; i++) {
        kept[i] = py.PyDict_GetItem(sys_names, streams[i]);
        py.Py_IncRef(kept[i]);
        if (kept[i] != NULL)
            py.PyDict_SetItem(sys_names, streams[i], PY_NONE);
    }
    if (clear_names(sys_names, image.sys_size, false))
        python_call_quietly(image.collect);
    for (int i = 0; i < STREAMS; i++) {
        if (kept[i] != NULL)
            py.PyDict_SetItem(sys_names, streams[i], kept[i]);
        python_drop(kept[i]);
    }
}

static bool is_standard_stream(PyObject *object)
{
    for (int i = 0; i < 3; i++)
        if (py.PyDict_GetItem(sys_names, streams[2 * i + 1]) == object ||
            py.PyList_GetItem(image.raw_streams, i) == object)
            return true;
    return false;
}

/* Which round finishes an object: 0 not a stream, 1 text, 2 buffered, 3 raw. A text
 * stream must be flushed before its buffer is. */
static int round_of(PyObject *type)
{
    for (int i = 0; i < 3; i++)
        if (py.PyType_IsSubtype(type, py.PyTuple_GetItem(image.stream_types, i)))
            return i + 1;
    return 0;
}

/* What the program made and something in the image still refers to: the
 * collector cannot free it, and CPython would have. */
static void finish_survivors(void)
{
    PyObject *objects = collector_objects();
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

void clear_program(void)
{
    PyObject *references;

    clear_special_names();
    references = remove_modules();
    stop_imports();
    clear_builtins();
    python_call_quietly(image.collect);
    clear_modules(references);
    python_call_quietly(image.collect);
    clear_sys();
    finish_survivors();
}
