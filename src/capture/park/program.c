/* Running the caller's program as pymain_run_python() of CPython does.
 *
 * CPython's own functions print an unhandled exception themselves, and for
 * SystemExit they end the whole interpreter at once. Here exceptions come back,
 * so that every program ends in finish.c; what is printed is the same.
 * A program that CPython would refuse to start (no such file, a terminal as
 * program) is not started: the caller's plain Python says so.
 */
#include "park.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* config_run_filename_abspath(): joined, not normalised. */
static char *absolute(const char *path)
{
    char directory[PATH_MAX];
    char *joined;

    if (path[0] == '/' || getcwd(directory, sizeof directory) == NULL)
        return strdup(path);
    if (py.hexversion >= PY_3_11 && (path[0] == '\0' || strcmp(path, ".") == 0))
        return strdup(directory);
    if (asprintf(&joined, "%s/%s", directory, path) == -1)
        gate_fail("no memory");
    return joined;
}

/* zipimport takes a file that has an end-of-directory record in its last 64 KiB;
 * the other path hook of a plain Python takes directories. This is the same
 * question without running their code. */
static bool may_be_archive(FILE *file)
{
    enum { TAIL = 65535 + 22 };
    struct stat status;
    off_t start;
    char *tail;
    ssize_t length;
    bool answer;

    if (fstat(fileno(file), &status) == -1 || !S_ISREG(status.st_mode))
        return false;
    start = status.st_size > TAIL ? status.st_size - TAIL : 0;
    tail = malloc(TAIL);
    if (tail == NULL)
        return true;
    length = pread(fileno(file), tail, TAIL, start);
    answer = length < 0 || memmem(tail, (size_t)length, "PK\5\6", 4) != NULL;
    free(tail);
    return answer;
}

static bool only_standard_path_hooks(void)
{
    PyObject *hooks = py.PySys_GetObject("path_hooks");

    return hooks != NULL && py.PyList_Size(hooks) == 2;
}

/* Does the import system take this path for a directory of modules? */
static bool is_importable(const char *path, FILE *file)
{
    PyObject *name = py.PyUnicode_DecodeFSDefault(path);
    PyObject *cache = py.PySys_GetObject("path_importer_cache");
    PyObject *importer;
    bool answer;

    if (name == NULL)
        gate_fail("cannot decode the script's name");
    if (file != NULL && cache != NULL && only_standard_path_hooks() && !may_be_archive(file)) {
        py.PyDict_SetItem(cache, name, PY_NONE);
        python_drop(name);
        return false;
    }
    importer = py.PyImport_GetImporter(name);
    if (importer == NULL)
        gate_fail("cannot ask the import system about %s", path);
    answer = importer != PY_NONE;
    python_drop(importer);
    python_drop(name);
    return answer;
}

static void prepare_file(struct program *program, const char *path)
{
    struct stat status;

    program->path = absolute(path);
    if (stat(program->path, &status) == 0 && S_ISDIR(status.st_mode)) {
        if (!is_importable(program->path, NULL))
            gate_fail("%s is a directory that cannot be run", path);
        program->kind = KIND_DIRECTORY;
        return;
    }
    program->file = fopen(program->path, "rb");
    if (program->file == NULL)
        gate_fail("cannot open %s: %s", path, strerror(errno));
    if (isatty(fileno(program->file)))
        gate_fail("%s is a terminal", path);
    program->kind = KIND_SCRIPT;
    if (is_importable(program->path, program->file)) {
        fclose(program->file);
        program->kind = KIND_DIRECTORY;
    }
}

/* runpy warns about a module that is imported already, and it runs it a second
 * time. That must not happen because of what the image holds. */
static void refuse_imported(const char *module)
{
    PyObject *modules = py.PyImport_GetModuleDict();
    PyObject *found = py.PyDict_GetItemString(modules, module);
    char *name;

    if (found != NULL && strchr(module, '.') != NULL &&
        !py.PyObject_HasAttrString(found, "__path__"))
        gate_fail("the image has imported %s itself", module);
    if (asprintf(&name, "%s.__main__", module) == -1)
        gate_fail("no memory");
    if (py.PyDict_GetItemString(modules, name) != NULL)
        gate_fail("the image has imported %s itself", name);
    free(name);
}

struct program program_prepare(const struct request *request)
{
    struct program program = {.kind = request->head.kind, .text = request->text};

    switch (program.kind) {
    case KIND_COMMAND:
        break;
    case KIND_MODULE:
        refuse_imported(program.text);
        break;
    case KIND_SCRIPT:
    case KIND_DIRECTORY:
        prepare_file(&program, program.text);
        break;
    case KIND_STDIN:
        if (isatty(0))
            gate_fail("standard input is a terminal");
        break;
    }
    return program;
}

/* _PyPathConfig_ComputeSysPath0() */
PyObject *program_path0(const struct program *program, const struct request *request)
{
    char path[PATH_MAX];
    const char *argv0 = request->head.argc > 0 ? request->argv[0] : "";
    char *slash;

    if (image.safe_path && program->kind != KIND_DIRECTORY)
        return NULL;
    switch (program->kind) {
    case KIND_COMMAND:
        return py.PyUnicode_FromString("");
    case KIND_MODULE:
        return getcwd(path, sizeof path) == NULL ? NULL : py.PyUnicode_DecodeFSDefault(path);
    case KIND_DIRECTORY:
        return py.PyUnicode_DecodeFSDefault(program->path);
    default:
        break;
    }
    if (realpath(argv0, path) == NULL)
        snprintf(path, sizeof path, "%s", argv0);
    slash = strrchr(path, '/');
    if (slash == NULL)
        path[0] = '\0';
    else if (slash == path)
        path[1] = '\0';
    else
        *slash = '\0';
    return py.PyUnicode_DecodeFSDefault(path);
}

/* SystemExit's code: an int, None, or something to print. */
static int exit_status(PyObject *code)
{
    PyObject *error_stream;

    if (code == NULL || code == PY_NONE)
        return 0;
    if (python_is(code, py.PyLong_Type)) {
        int status = (int)py.PyLong_AsLong(code);

        py.PyErr_Clear(); /* too large: -1 */
        return status;
    }
    error_stream = py.PySys_GetObject("stderr");
    if (error_stream != NULL && error_stream != PY_NONE) {
        if (py.PyFile_WriteObject(code, error_stream, PY_PRINT_RAW) == -1)
            py.PyErr_Clear();
    } else {
        if (py.PyObject_Print(code, stderr, PY_PRINT_RAW) == -1)
            py.PyErr_Clear();
        fflush(stderr);
    }
    py.PySys_WriteStderr("\n");
    return 1;
}

struct outcome program_unhandled(void)
{
    struct outcome outcome = {.status = 1};
    PyObject *type, *value, *traceback, *code;

    if (!py.PyErr_ExceptionMatches(py.PyExc_SystemExit)) {
        outcome.interrupted = py.PyErr_Occurred() == py.PyExc_KeyboardInterrupt;
        py.PyErr_Print();
        return outcome;
    }
    py.PyErr_Fetch(&type, &value, &traceback);
    fflush(stdout);
    py.PyErr_NormalizeException(&type, &value, &traceback);
    code = value == NULL ? NULL : py.PyObject_GetAttrString(value, "code");
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
