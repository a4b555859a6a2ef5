/* Running the caller's program as pymain_run_python() of CPython does.
 *
 * CPython's own functions print an unhandled exception themselves, and for
 * SystemExit they end the whole interpreter at once. Here exceptions come back,
 * so that every program ends in finish.c; what is printed is the same.
 */
#include "park.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* CPython from 3.12 on still has this error when Py_FinalizeEx() begins, which
 * prints it if threading was not imported; with us it always is. */
static void drop_error_of_exit(void)
{
    if (py.hexversion >= PY_3_12 && py.PyErr_Occurred() != NULL) {
        void (*say)(const char *, ...) = /* from 3.13 on */
            (void (*)(const char *, ...))dlsym(RTLD_DEFAULT, "PyErr_FormatUnraisable");

        if (say != NULL)
            say("Exception ignored on threading shutdown");
        else
            py.PyErr_WriteUnraisable(NULL);
    }
    py.PyErr_Clear();
}

/* SystemExit's code: an int, None, or something to print. */
static int exit_status(PyObject *code)
{
    PyObject *error_stream;

    if (code == NULL || code == PY_NONE)
        return 0;
    if (python_is(code, py.PyLong_Type)) {
        int status = (int)py.PyLong_AsLong(code);

        drop_error_of_exit(); /* too large: -1 */
        return status;
    }
    error_stream = py.PySys_GetObject("stderr");
    if (error_stream != NULL && error_stream != PY_NONE) {
        py.PyFile_WriteObject(code, error_stream, PY_PRINT_RAW);
    } else {
        py.PyObject_Print(code, stderr, PY_PRINT_RAW);
        fflush(stderr);
    }
    py.PySys_WriteStderr("\n");
    drop_error_of_exit();
    return 1;
}

struct outcome program_unhandled(void)
{
    struct outcome outcome = {.status = 1};
    PyObject *type, *value, *traceback, *code;

    if (!py.PyErr_ExceptionMatches(py.PyExc_SystemExit)) {
        outcome.interrupted = py.PyErr_Occurred() == py.PyExc_KeyboardInterrupt;
        if (py.PySys_GetObject("excepthook") != py.PySys_GetObject("__excepthook__"))
            finish_prepare_fully(); /* if it raises SystemExit, CPython ends it all at once */
        py.PyErr_Print();
        return outcome;
    }
    py.PyErr_Fetch(&type, &value, &traceback);
    fflush(stdout);
    /* Up to 3.11 this may be what sys.exit() was given, even a tuple: it is not normalised. */
    code = value == NULL || !python_is(value, py.PyExc_BaseException)
               ? NULL
               : py.PyObject_GetAttrString(value, "code");
    if (code == NULL && value != NULL) {
        py.PyErr_Clear();
        code = value;
        py.Py_IncRef(code);
    }
    outcome.status = exit_status(code);
    python_drop(code);
    python_drop(type);
    python_drop(value);
    python_drop(traceback);
    return outcome;
}

/* CPython 3.13 shows the source lines of -c code in tracebacks: it tells
 * linecache. Its first releases did so by the file's name, later ones by code. */
static PyObject *run_with_source(const char *code, PyObject *namespace,
                                 struct compiler_flags *flags)
{
    PyObject *compiled =
        py.Py_CompileStringExFlags(code, "<string>", PY_FILE_INPUT, flags, -1);
    PyObject *name, *source, *linecache, *function, *done, *result;

    if (compiled == NULL)
        return NULL;
    name = py.PyUnicode_FromString("<string>");
    source = py.PyUnicode_FromString(code);
    linecache = py.PyImport_ImportModule("linecache");
    function = linecache == NULL ? NULL : py.PyObject_GetAttrString(linecache, "_register_code");
    if (name == NULL || source == NULL || function == NULL)
        return NULL;
    done = py.PyObject_CallFunctionObjArgs(
        function, py.PyObject_HasAttrString(linecache, "_interactive_cache") ? compiled : name,
        source, name, NULL);
    python_drop(function);
    python_drop(linecache);
    python_drop(source);
    python_drop(name);
    if (done == NULL || py.PySys_Audit("exec", "O", compiled) < 0)
        return NULL;
    python_drop(done);
    result = py.PyEval_EvalCode(compiled, namespace, namespace);
    python_drop(compiled);
    return result;
}

PyObject *program_command(const char *code, PyObject *namespace)
{
    struct compiler_flags flags = {PY_IGNORE_COOKIE, (int)(py.hexversion >> 16 & 0xff)};

    if (py.hexversion >= PY_3_13)
        return run_with_source(code, namespace, &flags);
    return py.PyRun_StringFlags(code, PY_FILE_INPUT, namespace, namespace, &flags);
}

static struct outcome conclude(PyObject *result)
{
    if (result == NULL)
        return program_unhandled();
    python_drop(result);
    return (struct outcome){0};
}

/* pymain_run_command(); the command line's parser adds the newline. */
static struct outcome run_command(const char *text, PyObject *namespace)
{
    PyObject *command, *bytes = NULL, *result;
    char *line;

    if (asprintf(&line, "%s\n", text) == -1)
        abort();
    command = py.PyUnicode_DecodeFSDefault(line);
    free(line);
    if (command != NULL && py.PySys_Audit("cpython.run_command", "O", command) < 0)
        return program_unhandled();
    if (command != NULL)
        bytes = py.PyUnicode_AsUTF8String(command);
    python_drop(command);
    if (bytes == NULL) {
        py.PySys_WriteStderr("Unable to decode the command from the command line:\n");
        return program_unhandled();
    }
    result = program_command(py.PyBytes_AsString(bytes), namespace);
    python_drop(bytes);
    return conclude(result);
}

/* pymain_run_module() */
static struct outcome run_module(const char *text, bool alter_argv)
{
    PyObject *name = py.PyUnicode_DecodeFSDefault(text);
    PyObject *runpy, *function, *flag, *result;

    if (name == NULL || py.PySys_Audit("cpython.run_module", "O", name) < 0)
        return program_unhandled();
    runpy = py.PyImport_ImportModule("runpy");
    function = runpy == NULL ? NULL : py.PyObject_GetAttrString(runpy, "_run_module_as_main");
    if (function == NULL)
        return program_unhandled();
    flag = py.PyBool_FromLong(alter_argv);
    result = py.PyObject_CallFunctionObjArgs(function, name, flag, NULL);
    python_drop(flag);
    python_drop(function);
    python_drop(runpy);
    python_drop(name);
    return conclude(result);
}

/* run_pyc_file() */
static PyObject *run_compiled_file(FILE *file, PyObject *namespace)
{
    long magic = py.PyMarshal_ReadLongFromFile(file);
    PyObject *code = NULL, *result = NULL;

    if (magic != py.PyImport_GetMagicNumber()) {
        if (py.PyErr_Occurred() == NULL)
            py.PyErr_SetString(py.PyExc_RuntimeError, "Bad magic number in .pyc file");
    } else {
        for (int skipped = 0; skipped < 3; skipped++)
            py.PyMarshal_ReadLongFromFile(file);
        if (py.PyErr_Occurred() == NULL) {
            code = py.PyMarshal_ReadLastObjectFromFile(file);
            if (code == NULL || !python_is(code, py.PyCode_Type))
                py.PyErr_SetString(py.PyExc_RuntimeError, "Bad code object in .pyc file");
        }
    }
    fclose(file);
    if (py.PyErr_Occurred() == NULL)
        result = py.PyEval_EvalCode(code, namespace, namespace);
    python_drop(code);
    return result;
}

/* maybe_pyc_file() */
static bool is_compiled_file(FILE *file, const char *path, bool look_inside)
{
    size_t length = strlen(path);
    unsigned char start[2];
    bool answer = false;

    if (length >= 4 && strcmp(path + length - 4, ".pyc") == 0)
        return true;
    if (look_inside && ftell(file) == 0) {
        long magic = py.PyImport_GetMagicNumber() & 0xffff;

        answer = fread(start, 1, 2, file) == 2 && (start[1] << 8 | start[0]) == magic;
        rewind(file);
    }
    return answer;
}

static int set_loader(PyObject *namespace, const char *type, PyObject *path)
{
    PyObject *modules = py.PyImport_GetModuleDict();
    PyObject *external = py.PyDict_GetItemString(modules, "_frozen_importlib_external");
    PyObject *loader =
        external == NULL ? NULL : py.PyObject_CallMethod(external, type, "sO", "__main__", path);
    int result = loader == NULL ? -1 : py.PyDict_SetItemString(namespace, "__loader__", loader);

    python_drop(loader);
    return result;
}

/* flush_io() */
static void flush_quietly(void)
{
    static const char *const names[] = {"stderr", "stdout"};
    PyObject *type, *value, *traceback;

    py.PyErr_Fetch(&type, &value, &traceback);
    for (int i = 0; i < 2; i++) {
        PyObject *stream = py.PySys_GetObject(names[i]);

        if (stream != NULL && python_call_method(stream, "flush") == -1)
            py.PyErr_Clear();
    }
    py.PyErr_Restore(type, value, traceback);
}

/* pymain_run_file() and pymain_run_stdin(), which are PyRun_SimpleFile behind
 * their checks. */
static struct outcome run_file(FILE *file, const char *path, bool is_script, PyObject *namespace)
{
    struct compiler_flags flags = {0, (int)(py.hexversion >> 16 & 0xff)};
    PyObject *name = py.PyUnicode_DecodeFSDefault(path);
    PyObject *result = NULL;
    struct outcome outcome;
    bool compiled;

    if (name == NULL ||
        (is_script ? py.PySys_Audit("cpython.run_file", "O", name)
                   : py.PySys_Audit("cpython.run_stdin", NULL)) < 0)
        return program_unhandled();
    if (py.Py_MakePendingCalls() == -1) { /* a signal that came before the first line */
        outcome = program_unhandled();
        outcome.interrupted = false;
        return outcome;
    }
    py.PyDict_SetItemString(namespace, "__file__", name);
    py.PyDict_SetItemString(namespace, "__cached__", PY_NONE);
    compiled = is_compiled_file(file, path, is_script);
    if (is_script &&
        set_loader(namespace, compiled ? "SourcelessFileLoader" : "SourceFileLoader", name) == -1)
        fputs("python: failed to set __main__.__loader__\n", stderr);
    else if (compiled)
        result = run_compiled_file(file, namespace);
    else
        result = py.PyRun_FileExFlags(file, path, PY_FILE_INPUT, namespace, namespace, is_script,
                                      &flags);
    python_drop(name);
    flush_quietly();
    if (result == NULL && py.PyErr_ExceptionMatches(py.PyExc_SystemExit))
        return program_unhandled(); /* leaves __file__, as CPython does */
    outcome = conclude(result);
    if (py.PyDict_DelItemString(namespace, "__file__") == -1)
        py.PyErr_Clear();
    if (py.PyDict_DelItemString(namespace, "__cached__") == -1)
        py.PyErr_Clear();
    return outcome;
}

struct outcome program_run(const struct program *program)
{
    PyObject *main_module = py.PyImport_AddModule("__main__");
    PyObject *namespace = py.PyModule_GetDict(main_module);

    switch (program->kind) {
    case KIND_COMMAND:
        return run_command(program->text, namespace);
    case KIND_MODULE:
        return run_module(program->text, true);
    case KIND_DIRECTORY:
        return run_module("__main__", false);
    case KIND_SCRIPT:
        return run_file(program->file, program->path, true, namespace);
    default:
        return run_file(stdin, "<stdin>", false, namespace);
    }
}
