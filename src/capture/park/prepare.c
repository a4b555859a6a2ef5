/* What of pymain_run_python() comes before the program: is the file there, is it
 * a script or something to import from, what is sys.path[0].
 *
 * A program that CPython would refuse to start (no such file, a terminal as
 * program) is not started: the caller's plain Python says so in its own words.
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
    case KIND_GROW: /* runs none */
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
