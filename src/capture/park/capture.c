/* The build's half of the library's life: run the recipe as Python would have
 * run it, tell the builder what came of it, leave a tidy process, and park. An
 * image that grows goes through it again, with another recipe.
 */
#include "observe.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static void flush_streams(void)
{
    static const char *const names[] = {"stdout", "stderr"};

    for (int i = 0; i < 2; i++) {
        PyObject *stream = py.PySys_GetObject(names[i]);

        if (stream != NULL && stream != PY_NONE && python_call_method(stream, "flush") == -1)
            py.PyErr_Clear();
    }
    fflush(NULL);
}

/* For what must not be in an image. Nothing is waited for: the reason may be a
 * thread that never ends. */
static _Noreturn void refuse(const char *reason)
{
    char *message;

    if (asprintf(&message, "refused %s\n", reason) == -1)
        message = "refused for want of memory\n";
    gate_say(message, -1);
    if (py.PySys_GetObject != NULL)
        flush_streams();
    _exit(1);
}

static _Noreturn void refuse_object(PyObject *text)
{
    const char *reason = py.PyUnicode_AsUTF8(text);

    refuse(reason == NULL ? "something that has no name" : reason);
}

/* A fault of the library or of an interpreter it does not understand. */
static _Noreturn void give_up(void)
{
    py.PyErr_Print();
    refuse("the interpreter could not be prepared (its traceback is above)");
}

static char *read_script(int file)
{
    struct stat status;
    char *text;

    if (fstat(file, &status) == -1)
        refuse("the build's own script is missing");
    text = calloc(1, (size_t)status.st_size + 1);
    if (text == NULL || pread(file, text, (size_t)status.st_size, 0) != status.st_size)
        refuse("the build's own script cannot be read");
    close(file);
    return text;
}

static PyObject *compile(const char *text)
{
    PyObject *code = py.Py_CompileString(text, "<pyimg>", PY_FILE_INPUT);

    if (code == NULL)
        give_up();
    return code;
}

static void execute(PyObject *code, PyObject *namespace)
{
    PyObject *result = py.PyEval_EvalCode(code, namespace, namespace);

    if (result == NULL)
        give_up();
    python_drop(result);
}

static void execute_text(const char *text, PyObject *namespace)
{
    PyObject *code = compile(text);

    execute(code, namespace);
    python_drop(code);
}

/* Cuts a text in two before the line that begins like this. */
static char *cut(char *text, const char *mark)
{
    char *found = strstr(text, mark);

    if (found == NULL)
        refuse("the build's own script is incomplete");
    *found = '\0';
    return found + 1;
}

/* What is in inside/ lives in a namespace of its own, not in sys.modules. */
static PyObject *load_inside(char *text, char **waking)
{
    PyObject *namespace = py.PyDict_New();
    char *build = cut(text, "\n# --- The build");

    *waking = cut(build, "\n# --- The woken process");
    if (py.PyDict_SetItemString(namespace, "__builtins__", py.PyEval_GetBuiltins()) == -1)
        give_up();
    if (!renew_prepare(namespace))
        give_up();
    execute_text(text, namespace);
    image.build = compile(build);
    execute(image.build, namespace);
    return namespace;
}

static PyObject *call(PyObject *inside, const char *name, PyObject *argument)
{
    PyObject *function = py.PyDict_GetItemString(inside, name);
    PyObject *result = py.PyObject_CallFunctionObjArgs(function, argument, NULL);

    if (result == NULL)
        give_up();
    return result;
}

static void drop_call(PyObject *inside, const char *name)
{
    python_drop(call(inside, name, NULL));
}

/* The recipe ends as a program does, and an image that grows with all that it
 * kept and froze. */
static _Noreturn void end(PyObject *inside, struct outcome outcome)
{
    if (image.wake != NULL) {
        collector_thaw();
        image.inside = inside;
    }
    finish_fully(outcome);
}

/* Its names become __main__'s, so that they are finished when a program's are. */
static _Noreturn void recipe_failed(PyObject *inside, PyObject *steps, PyObject *namespace)
{
    PyObject *main_module, *type, *value, *traceback;
    struct outcome outcome;

    if (py.PyErr_ExceptionMatches(py.PyExc_SystemExit)) {
        py.PyErr_Fetch(&type, &value, &traceback);
        py.PyErr_NormalizeException(&type, &value, &traceback);
        refuse_object(call(inside, "exit_text", value));
    }
    outcome = program_unhandled();
    main_module = py.PyImport_AddModule("__main__");
    if (main_module == NULL || py.PyDict_Update(py.PyModule_GetDict(main_module), namespace) == -1)
        py.PyErr_Clear();
    python_drop(steps);
    py.PyDict_Clear(inside);
    end(inside, outcome);
}

static PyObject *run_step(PyObject *source, PyObject *namespace)
{
    PyObject *bytes, *result;

    if (python_is(source, py.PyCode_Type))
        return py.PyEval_EvalCode(source, namespace, namespace);
    bytes = py.PyUnicode_AsUTF8String(source);
    result = bytes == NULL ? NULL : program_command(py.PyBytes_AsString(bytes), namespace);
    python_drop(bytes);
    return result;
}

static _Noreturn void fail_with(PyObject *inside, PyObject *problem)
{
    py.PyErr_Restore(py.PyObject_Type(problem), problem,
                     py.PyObject_GetAttrString(problem, "__traceback__"));
    end(inside, program_unhandled());
}

static void run_recipe(PyObject *inside, PyObject *steps)
{
    if (!python_is(steps, py.PyList_Type)) /* the exception that prevented them */
        fail_with(inside, steps);
    for (Py_ssize_t i = 0; i < py.PyList_Size(steps); i++) {
        PyObject *step = py.PyList_GetItem(steps, i);
        PyObject *namespace = py.PyTuple_GetItem(step, 1);
        PyObject *result = run_step(py.PyTuple_GetItem(step, 0), namespace);

        if (result == NULL)
            recipe_failed(inside, steps, namespace);
        python_drop(result);
        python_drop(call(inside, "after", step)); /* may have added to the steps */
    }
    python_drop(steps);
}

/* What modules want done before they are part of an image is part of their import: it may
 * end what an image cannot hold, it is observed, and it fails as the recipe does. */
static void before_snapshot(PyObject *inside)
{
    PyObject *problem = call(inside, "before_snapshot", NULL);

    if (python_is(problem, py.PyExc_SystemExit))
        refuse_object(call(inside, "exit_text", problem));
    if (problem != PY_NONE)
        fail_with(inside, problem);
    python_drop(problem);
}

/* Runs the recipe and says what it looked at. */
static void observe_recipe(PyObject *inside, const char *begin)
{
    const char *changed;
    PyObject *draws, *notes;
    int journal;

    observe_begin(py.PyDict_GetItemString(inside, "hear"));
    run_recipe(inside, call(inside, begin, NULL));
    before_snapshot(inside);
    draws = observe_draws();
    if (observe_clock_was_read())
        drop_call(inside, "note_clock");
    notes = call(inside, "notes_of", draws);
    python_drop(draws);
    observe_note_draws(notes);
    changed = observe_changes();
    if (changed != NULL)
        refuse(changed);
    journal = observe_end();
    gate_say("journal\n", journal);
    close(journal);
}

static void report(PyObject *inside)
{
    PyObject *reason = call(inside, "refusal", NULL);
    PyObject *file;
    int descriptor;

    if (reason != PY_NONE)
        refuse_object(reason);
    if (py.PyInterpreterState_Next(py.PyInterpreterState_Head()) != NULL)
        refuse("a subinterpreter is alive");
    gate_say("imported\n", -1);
    file = call(inside, "report", NULL);
    if (!python_is(file, py.PyLong_Type))
        refuse_object(file);
    descriptor = (int)py.PyLong_AsLong(file);
    gate_say("report\n", descriptor);
    close(descriptor);
    python_drop(file);
    python_drop(reason);
}

static void connect_standard(int input, int output)
{
    if (dup2(input, 0) == -1 || dup2(output, 1) == -1 || dup2(output, 2) == -1)
        refuse("the standard streams cannot be disconnected");
    if (input > 2)
        close(input);
    if (output > 2 && output != input)
        close(output);
}

static void leave_surroundings(void)
{
    int ends[2];

    flush_streams();
    if (pipe2(ends, O_CLOEXEC) == -1)
        refuse("no pipe can be had");
    connect_standard(ends[0], ends[1]);
    if (chdir("/") == -1)
        refuse("the root directory cannot be entered");
}

static void connect_to_null(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null == -1)
        refuse("/dev/null cannot be opened");
    connect_standard(null, null);
}

static PyObject *take(PyObject *kept, const char *name)
{
    PyObject *value = py.PyDict_GetItemString(kept, name);

    if (value == NULL)
        refuse("the build's own script is incomplete");
    return value;
}

static void remember(PyObject *inside)
{
#define F(name) #name,
    static const char *const names[] = {IMAGE_OBJECTS(F)};
#undef F
    const char *lc_ctype = getenv("LC_CTYPE");
    PyObject *kept = call(inside, "settle", NULL);

    /* Only at first: later the variable is what waking has made of it. */
    if (image.wake == NULL && lc_ctype != NULL &&
        (origin.lc_ctype == NULL || strcmp(lc_ctype, origin.lc_ctype) != 0))
        image.coerced_lc_ctype = strdup(lc_ctype);
    for (size_t i = 0; i < sizeof image.held / sizeof *image.held; i++) {
        PyObject *before = image.held[i];

        image.held[i] = take(kept, names[i]);
        py.Py_IncRef(image.held[i]);
        python_drop(before);
    }
    image.path_index = py.PyLong_AsLong(take(kept, "path_index"));
    image.full_end = py.PyObject_IsTrue(take(kept, "full_end")) != 0;
    image.safe_path = py.PyObject_IsTrue(take(kept, "safe_path")) != 0;
    image.builtins_size = py.PyDict_Size(py.PyEval_GetBuiltins());
    image.sys_size = py.PyDict_Size(py.PyModule_GetDict(py.PyImport_AddModule("sys")));
    image.inside = inside;
    record_note_image();
    python_drop(kept);
}

static void block_signals(void)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

/* `waking` is what of inside/ is yet to be executed, and `text` all of it;
 * NULL if that was done when the image was first made. */
static _Noreturn void park(PyObject *inside, char *text, const char *waking)
{
    report(inside);
    drop_call(inside, "tidy");
    leave_surroundings();
    unsetenv("PYTHONHASHSEED");
    drop_call(inside, "collect_all");
    settle_allocators();
    if (waking != NULL)
        execute_text(waking, inside);
    free(text);
    settle_names();
    remember(inside);
    if (!streams_learn(inside))
        refuse("the standard streams cannot be connected");
    duties_remember();
    leave_remember();
    connect_to_null();
    drop_call(inside, "forget");
    py.PyGC_Collect();
    settle_allocators();
    collector_freeze();
    collector_hide(inside);
    block_signals();
    /* From here on the end of the build is the end of the socket. A process that is
     * killed while CRIU dumps it can leave CRIU behind for ever: its handler of SIGCHLD
     * allocates memory, and may have interrupted an allocation. */
    prctl(PR_SET_PDEATHSIG, 0);
    direct_remember();
    direct_park();
    wake();
}

_Noreturn void capture(void)
{
    const char *missing = python_load();
    PyObject *inside, *sentinel_text;
    char *sentinel, *text, *waking;

    gate_open(origin.socket);
    sentinel = origin.sentinel;
    origin.sentinel = NULL; /* the path is an ordinary one from now on */
    if (missing != NULL)
        refuse("this is not a CPython from 3.9 on: it lacks a function of the C API");
    py.PyGILState_Ensure();
    py.hexversion = py.PyLong_AsLong(py.PySys_GetObject("hexversion"));
    path0_find(sentinel);
    if (!collector_stand_in())
        refuse("this is not a CPython from 3.9 on: its gc module lacks a function");
    clear_prepare();
    text = read_script(origin.script);
    inside = load_inside(text, &waking);
    sentinel_text = py.PyUnicode_DecodeFSDefault(sentinel);
    python_drop(call(inside, "arrive", sentinel_text));
    python_drop(sentinel_text);
    observe_recipe(inside, "begin");
    park(inside, text, waking);
}

_Noreturn void capture_more(const char *recipe)
{
    PyObject *inside = image.inside;

    image.inside = NULL; /* this is a build again */
    collector_show();
    execute(image.build, inside);
    execute_text(recipe, inside);
    observe_recipe(inside, "begin_again");
    park(inside, NULL, NULL);
}
