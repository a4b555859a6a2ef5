/* The interpreter's C API, found at run time.
 *
 * The library is compiled without Python's headers and linked against no
 * libpython: one build serves CPython 3.9 to 3.13, static or shared. Only
 * public names are looked up, objects stay opaque, no struct layout is known
 * (PyCompilerFlags and PyMethodDef below are documented and have not changed
 * since 3.8).
 */
#ifndef PARK_PYTHON_H
#define PARK_PYTHON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdio.h>
#include <sys/types.h>
#include <wchar.h>

#pragma GCC visibility push(hidden)

typedef struct park_opaque_object PyObject;
typedef ssize_t Py_ssize_t;

struct compiler_flags {
    int flags;
    int feature_version;
};

typedef PyObject *python_function(PyObject *, PyObject *); /* PyCFunction */

struct method_definition {
    const char *name;
    void (*function)(void); /* of the type that the flags say */
    int flags;
    const char *doc;
};

enum {
    PY_FILE_INPUT = 257,         /* Py_file_input */
    PY_VARARGS = 1,              /* METH_VARARGS */
    PY_VARARGS_KEYWORDS = 3,     /* METH_VARARGS | METH_KEYWORDS */
    PY_NOARGS = 4,               /* METH_NOARGS */
    PY_ONE_ARGUMENT = 8,         /* METH_O */
    PY_PRINT_RAW = 1,            /* Py_PRINT_RAW */
    PY_EQ = 2,                   /* Py_EQ */
    PY_IGNORE_COOKIE = 0x0800,   /* PyCF_IGNORE_COOKIE */
    PY_3_10 = 0x030a0000,
    PY_3_11 = 0x030b0000,
    PY_3_12 = 0x030c0000,
    PY_3_13 = 0x030d0000,
};

#define PY_FUNCTIONS(F) \
    F(void, Py_IncRef, (PyObject *)) \
    F(void, Py_DecRef, (PyObject *)) \
    F(int, Py_AtExit, (void (*)(void))) \
    F(int, Py_FinalizeEx, (void)) \
    F(int, PyGILState_Check, (void)) \
    F(int, PyGILState_Ensure, (void)) \
    F(void *, PyGILState_GetThisThreadState, (void)) \
    F(void, PyGILState_Release, (int)) \
    F(int, PySys_AddAuditHook, (int (*)(const char *, PyObject *, void *), void *)) \
    F(PyObject *, PyFrame_GetBack, (PyObject *)) \
    F(PyObject *, PyFrame_GetCode, (PyObject *)) \
    F(PyObject *, PyEval_GetFrame, (void)) \
    F(void, PyOS_BeforeFork, (void)) \
    F(void, PyOS_AfterFork_Child, (void)) \
    F(void *, PyInterpreterState_Head, (void)) \
    F(void *, PyInterpreterState_Next, (void *)) \
    F(void *, PyInterpreterState_ThreadHead, (void *)) \
    F(void *, PyThreadState_Next, (void *)) \
    F(PyObject *, Py_CompileString, (const char *, const char *, int)) \
    F(PyObject *, Py_CompileStringExFlags, \
      (const char *, const char *, int, struct compiler_flags *, int)) \
    F(PyObject *, PyEval_EvalCode, (PyObject *, PyObject *, PyObject *)) \
    F(PyObject *, PyEval_GetBuiltins, (void)) \
    F(PyObject *, PyRun_StringFlags, \
      (const char *, int, PyObject *, PyObject *, struct compiler_flags *)) \
    F(PyObject *, PyRun_FileExFlags, \
      (FILE *, const char *, int, PyObject *, PyObject *, int, struct compiler_flags *)) \
    F(long, PyImport_GetMagicNumber, (void)) \
    F(PyObject *, PyImport_AddModule, (const char *)) \
    F(PyObject *, PyImport_ImportModule, (const char *)) \
    F(PyObject *, PyImport_GetModuleDict, (void)) \
    F(PyObject *, PyImport_GetImporter, (PyObject *)) \
    F(long, PyMarshal_ReadLongFromFile, (FILE *)) \
    F(PyObject *, PyMarshal_ReadLastObjectFromFile, (FILE *)) \
    F(int, PySys_Audit, (const char *, const char *, ...)) \
    F(PyObject *, PySys_GetObject, (const char *)) \
    F(int, PySys_SetObject, (const char *, PyObject *)) \
    F(void, PySys_WriteStderr, (const char *, ...)) \
    F(void, PyErr_Clear, (void)) \
    F(int, PyErr_ExceptionMatches, (PyObject *)) \
    F(void, PyErr_Fetch, (PyObject **, PyObject **, PyObject **)) \
    F(void, PyErr_NormalizeException, (PyObject **, PyObject **, PyObject **)) \
    F(PyObject *, PyErr_Occurred, (void)) \
    F(void, PyErr_Print, (void)) \
    F(void, PyErr_Restore, (PyObject *, PyObject *, PyObject *)) \
    F(void, PyErr_SetInterrupt, (void)) \
    F(void, PyErr_SetString, (PyObject *, const char *)) \
    F(void, PyErr_WriteUnraisable, (PyObject *)) \
    F(int, Py_MakePendingCalls, (void)) \
    F(int, PyFile_WriteObject, (PyObject *, PyObject *, int)) \
    F(Py_ssize_t, PyGC_Collect, (void)) \
    F(PyObject *, PyBytes_FromStringAndSize, (const char *, Py_ssize_t)) \
    F(char *, PyBytes_AsString, (PyObject *)) \
    F(PyObject *, PyBool_FromLong, (long)) \
    F(python_function *, PyCFunction_GetFunction, (PyObject *)) \
    F(PyObject *, PyCFunction_NewEx, (struct method_definition *, PyObject *, PyObject *)) \
    F(void, PyDict_Clear, (PyObject *)) \
    F(PyObject *, PyDict_Copy, (PyObject *)) \
    F(int, PyDict_DelItemString, (PyObject *, const char *)) \
    F(PyObject *, PyDict_GetItem, (PyObject *, PyObject *)) \
    F(PyObject *, PyDict_GetItemString, (PyObject *, const char *)) \
    F(PyObject *, PyDict_Keys, (PyObject *)) \
    F(PyObject *, PyDict_New, (void)) \
    F(int, PyDict_Next, (PyObject *, Py_ssize_t *, PyObject **, PyObject **)) \
    F(PyObject *, PyDict_SetDefault, (PyObject *, PyObject *, PyObject *)) \
    F(int, PyDict_SetItem, (PyObject *, PyObject *, PyObject *)) \
    F(int, PyDict_SetItemString, (PyObject *, const char *, PyObject *)) \
    F(Py_ssize_t, PyDict_Size, (PyObject *)) \
    F(int, PyDict_DelItem, (PyObject *, PyObject *)) \
    F(int, PyDict_Update, (PyObject *, PyObject *)) \
    F(int, PyList_Append, (PyObject *, PyObject *)) \
    F(PyObject *, PyList_GetItem, (PyObject *, Py_ssize_t)) \
    F(int, PyList_Insert, (PyObject *, Py_ssize_t, PyObject *)) \
    F(PyObject *, PyList_New, (Py_ssize_t)) \
    F(int, PyList_SetSlice, (PyObject *, Py_ssize_t, Py_ssize_t, PyObject *)) \
    F(Py_ssize_t, PyList_Size, (PyObject *)) \
    F(long, PyLong_AsLong, (PyObject *)) \
    F(PyObject *, PyLong_FromLong, (long)) \
    F(PyObject *, PyLong_FromString, (const char *, char **, int)) \
    F(PyObject *, PyModule_GetDict, (PyObject *)) \
    F(int, PyObject_GC_IsTracked, (PyObject *)) \
    F(void, PyObject_GC_Track, (void *)) \
    F(void, PyObject_GC_UnTrack, (void *)) \
    F(PyObject *, PyObject_Call, (PyObject *, PyObject *, PyObject *)) \
    F(PyObject *, PyObject_CallFunctionObjArgs, (PyObject *, ...)) \
    F(void, PyObject_CallFinalizer, (PyObject *)) \
    F(PyObject *, PyObject_CallMethod, (PyObject *, const char *, const char *, ...)) \
    F(PyObject *, PyObject_CallObject, (PyObject *, PyObject *)) \
    F(void *, PyObject_Malloc, (size_t)) \
    F(PyObject *, PyObject_GetAttrString, (PyObject *, const char *)) \
    F(int, PyObject_HasAttrString, (PyObject *, const char *)) \
    F(int, PyObject_IsTrue, (PyObject *)) \
    F(int, PyObject_Print, (PyObject *, FILE *, int)) \
    F(int, PyObject_RichCompareBool, (PyObject *, PyObject *, int)) \
    F(int, PyObject_SetAttr, (PyObject *, PyObject *, PyObject *)) \
    F(PyObject *, PyObject_Str, (PyObject *)) \
    F(PyObject *, PyObject_Type, (PyObject *)) \
    F(int, PyTuple_SetItem, (PyObject *, Py_ssize_t, PyObject *)) \
    F(PyObject *, PyTuple_GetItem, (PyObject *, Py_ssize_t)) \
    F(PyObject *, PyTuple_New, (Py_ssize_t)) \
    F(Py_ssize_t, PyTuple_Size, (PyObject *)) \
    F(int, PyType_IsSubtype, (PyObject *, PyObject *)) \
    F(const char *, PyUnicode_AsUTF8, (PyObject *)) \
    F(PyObject *, PyUnicode_AsUTF8String, (PyObject *)) \
    F(Py_ssize_t, PyUnicode_AsWideChar, (PyObject *, wchar_t *, Py_ssize_t)) \
    F(PyObject *, PyUnicode_DecodeFSDefault, (const char *)) \
    F(PyObject *, PyUnicode_EncodeFSDefault, (PyObject *)) \
    F(PyObject *, PyUnicode_FromString, (const char *)) \
    F(PyObject *, PyUnicode_InternFromString, (const char *)) \
    F(PyObject *, PyWeakref_GetObject, (PyObject *)) \
    F(PyObject *, PyWeakref_NewRef, (PyObject *, PyObject *))

/* Exported objects: the symbol is the object itself. */
#define PY_OBJECTS(F) \
    F(_Py_NoneStruct) \
    F(PyCode_Type) \
    F(PyDict_Type) \
    F(PyFunction_Type) \
    F(PyList_Type) \
    F(PyLong_Type) \
    F(PyModule_Type) \
    F(PySet_Type) \
    F(PyTuple_Type) \
    F(PyUnicode_Type)

/* Exported pointers to objects. */
#define PY_EXCEPTIONS(F) \
    F(PyExc_BaseException) \
    F(PyExc_ImportError) \
    F(PyExc_KeyboardInterrupt) \
    F(PyExc_OSError) \
    F(PyExc_RuntimeError) \
    F(PyExc_SystemExit)

struct python {
#define F(result, name, arguments) result (*name) arguments;
    PY_FUNCTIONS(F)
#undef F
#define F(name) PyObject *name;
    PY_OBJECTS(F)
    PY_EXCEPTIONS(F)
#undef F
    long hexversion;
};

extern struct python py;

#define PY_NONE (py._Py_NoneStruct)

/* Fills `py`. Returns NULL, or the first name that this process lacks. */
const char *python_load(void);

/* Is `object` an instance of `type` or of a subtype (not asking __class__)? */
int python_is(PyObject *object, PyObject *type);

/* Drops a reference; NULL is allowed. */
void python_drop(PyObject *object);

/* Calls a method without arguments and drops its result: 0, or -1 with the
 * exception set. */
int python_call_method(PyObject *object, const char *name);

/* Calls without arguments; the result and an exception are dropped. */
void python_call_quietly(PyObject *function);

#pragma GCC visibility pop

#endif
