/* What a program learns from the gc module.
 *
 * The objects of the image are frozen, so that collecting garbage writes to none
 * of them. A program must not be told so: the functions of gc that would show it
 * are ours, and look like the ones for which they stand. Whoever asks which
 * objects there are is shown those of the image as well, which from then on are
 * collected as any others.
 *
 * What this library keeps in Python objects is nobody's: the collector does not
 * know of it, so that nobody finds it there.
 */
#include "park.h"

#include <stdlib.h>
#include <string.h>

enum which { GET_OBJECTS, GET_REFERRERS, GET_FREEZE_COUNT, FREEZE, UNFREEZE, FUNCTIONS };

static PyObject *real[FUNCTIONS];

static enum {
    AS_IT_IS,   /* while an image is built, and once a program has asked for the objects */
    HIDDEN,     /* the image's objects are frozen, the program's are not */
    BY_PROGRAM, /* it has frozen everything */
} frozen;

static struct {
    PyObject **objects;
    size_t count, room;
} own;

static long frozen_at_start; /* CPython 3.12 freezes some itself */

static PyObject *answer(enum which which, PyObject *arguments, PyObject *keywords)
{
    if (frozen == HIDDEN && which == UNFREEZE) {
        frozen_at_start = 0;
        py.Py_IncRef(PY_NONE);
        return PY_NONE;
    }
    if (frozen == HIDDEN && which == GET_FREEZE_COUNT)
        return py.PyLong_FromLong(frozen_at_start);
    if (frozen == HIDDEN && which == FREEZE)
        frozen = BY_PROGRAM;
    else if (frozen == BY_PROGRAM && which == UNFREEZE)
        frozen = AS_IT_IS;
    else if (frozen == HIDDEN)
        collector_thaw();
    py.PyObject_GC_UnTrack(arguments); /* it refers to them, but only for this call */
    return py.PyObject_Call(real[which], arguments, keywords);
}

#define STAND_IN(name, which) \
    static PyObject *name(PyObject *self, PyObject *arguments, PyObject *keywords) \
    { \
        (void)self; \
        return answer(which, arguments, keywords); \
    }

STAND_IN(get_objects, GET_OBJECTS)
STAND_IN(get_referrers, GET_REFERRERS)
STAND_IN(get_freeze_count, GET_FREEZE_COUNT)
STAND_IN(freeze, FREEZE)
STAND_IN(unfreeze, UNFREEZE)

#define DEFINITION(name) {#name, (void (*)(void))name, PY_VARARGS_KEYWORDS, NULL}

static struct method_definition stand_ins[FUNCTIONS] = {
    [GET_OBJECTS] = DEFINITION(get_objects),
    [GET_REFERRERS] = DEFINITION(get_referrers),
    [GET_FREEZE_COUNT] = DEFINITION(get_freeze_count),
    [FREEZE] = DEFINITION(freeze),
    [UNFREEZE] = DEFINITION(unfreeze),
};

/* As CPython takes it apart again into __doc__ and __text_signature__. */
static char *documentation(const char *name, PyObject *function)
{
    PyObject *doc = py.PyObject_GetAttrString(function, "__doc__");
    PyObject *signature = py.PyObject_GetAttrString(function, "__text_signature__");
    char *text = NULL;

    if (doc == NULL || !python_is(doc, py.PyUnicode_Type))
        ;
    else if (signature == NULL || !python_is(signature, py.PyUnicode_Type))
        text = strdup(py.PyUnicode_AsUTF8(doc));
    else if (asprintf(&text, "%s%s\n--\n\n%s", name, py.PyUnicode_AsUTF8(signature),
                      py.PyUnicode_AsUTF8(doc)) == -1)
        text = NULL;
    py.PyErr_Clear();
    python_drop(signature);
    python_drop(doc);
    return text;
}

bool collector_stand_in(void)
{
    PyObject *gc = py.PyImport_ImportModule("gc");
    PyObject *names = gc == NULL ? NULL : py.PyModule_GetDict(gc);
    PyObject *module = py.PyUnicode_FromString("gc");
    PyObject *count;

    if (names == NULL || module == NULL)
        return false;
    for (int i = 0; i < FUNCTIONS; i++) {
        const char *name = stand_ins[i].name;
        PyObject *function;

        real[i] = py.PyDict_GetItemString(names, name);
        if (real[i] == NULL)
            return false;
        py.Py_IncRef(real[i]);
        stand_ins[i].doc = documentation(name, real[i]);
        function = py.PyCFunction_NewEx(&stand_ins[i], gc, module);
        if (function == NULL || py.PyDict_SetItemString(names, name, function) == -1)
            return false;
        python_drop(function);
    }
    python_drop(module);
    python_drop(gc);
    count = py.PyObject_CallObject(real[GET_FREEZE_COUNT], NULL);
    frozen_at_start = py.PyLong_AsLong(count);
    python_drop(count);
    return true;
}

static void hide(PyObject *object)
{
    if (!py.PyObject_GC_IsTracked(object))
        return;
    if (own.count == own.room) {
        own.room = own.room * 2 + 256;
        own.objects = realloc(own.objects, own.room * sizeof *own.objects);
        if (own.objects == NULL)
            abort();
    }
    py.PyObject_GC_UnTrack(object);
    own.objects[own.count++] = object;
}

/* A value of inside/: lists and tuples with all that is in them. Dictionaries
 * and sets are its own, but what they hold is not. */
static void hide_value(PyObject *value)
{
    bool is_tuple = python_is(value, py.PyTuple_Type), is_list = python_is(value, py.PyList_Type);
    Py_ssize_t size = is_tuple ? py.PyTuple_Size(value) : is_list ? py.PyList_Size(value) : 0;

    if (!is_tuple && !is_list && !python_is(value, py.PyDict_Type) &&
        !python_is(value, py.PySet_Type) && !python_is(value, py.PyFunction_Type))
        return;
    hide(value);
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *item = is_tuple ? py.PyTuple_GetItem(value, i) : py.PyList_GetItem(value, i);

        if (python_is(item, py.PyTuple_Type))
            hide_value(item);
    }
}

void collector_hide(PyObject *inside)
{
    PyObject *builtins = py.PyEval_GetBuiltins(), *name, *value;
    Py_ssize_t position = 0;

    while (py.PyDict_Next(inside, &position, &name, &value))
        if (value != builtins)
            hide_value(value);
    hide(inside);
    hide(image.stream_types);
    hide(image.containers);
}

void collector_show(void)
{
    while (own.count > 0)
        py.PyObject_GC_Track(own.objects[--own.count]);
}

/* The collector must see __main__: its names are the program's, and most
 * cycles that a program makes lead through them. */
static void track_anew(PyObject *object)
{
    if (py.PyObject_GC_IsTracked(object)) {
        py.PyObject_GC_UnTrack(object);
        py.PyObject_GC_Track(object);
    }
}

void collector_freeze(void)
{
    PyObject *main_module = py.PyImport_AddModule("__main__");

    python_call_quietly(real[FREEZE]);
    track_anew(main_module);
    track_anew(py.PyModule_GetDict(main_module));
}

void collector_begin(void)
{
    frozen = HIDDEN;
}

bool collector_is_thawed(void)
{
    return frozen == AS_IT_IS;
}

void collector_thaw(void)
{
    if (frozen == HIDDEN)
        frozen = AS_IT_IS;
    python_call_quietly(real[UNFREEZE]);
}

void collector_end(void)
{
    if (frozen == HIDDEN)
        collector_thaw();
    collector_show();
}

PyObject *collector_objects(void)
{
    return py.PyObject_CallObject(real[GET_OBJECTS], NULL);
}
