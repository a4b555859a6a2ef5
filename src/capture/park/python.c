#include "python.h"

#include <dlfcn.h>

struct python py;

const char *python_load(void)
{
#define F(result, name, arguments) \
    if ((py.name = (result(*) arguments)dlsym(RTLD_DEFAULT, #name)) == NULL) \
        return #name;
    PY_FUNCTIONS(F)
#undef F
#define F(name) \
    if ((py.name = (PyObject *)dlsym(RTLD_DEFAULT, #name)) == NULL) \
        return #name;
    PY_OBJECTS(F)
#undef F
#define F(name) { \
        PyObject **pointer = (PyObject **)dlsym(RTLD_DEFAULT, #name); \
        if (pointer == NULL) \
            return #name; \
        py.name = *pointer; \
    }
    PY_EXCEPTIONS(F)
#undef F
    return NULL;
}

int python_is(PyObject *object, PyObject *type)
{
    PyObject *actual = py.PyObject_Type(object);
    int answer = py.PyType_IsSubtype(actual, type);

    python_drop(actual);
    return answer;
}

void python_drop(PyObject *object)
{
    py.Py_DecRef(object); /* allows NULL, unlike the macro */
}

int python_call_method(PyObject *object, const char *name)
{
    PyObject *result = py.PyObject_CallMethod(object, name, NULL);

    if (result == NULL)
        return -1;
    python_drop(result);
    return 0;
}

void python_call_quietly(PyObject *function)
{
    PyObject *result = py.PyObject_CallObject(function, NULL);

    py.PyErr_Clear();
    python_drop(result);
}
