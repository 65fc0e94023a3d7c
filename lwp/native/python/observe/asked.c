/* What this process answers when it is asked from outside (observe/listen.h): what observe/asked.py tells, or, if Python doesn't answer, what
 * can be read without the GIL.  The reader of the latter is observe/glimpse.py: change both. */
#include "observe/aside.h"
#include "observe/calls.h"
#include "reading/inspect.h"
#include "observe/listen.h"
#include "python/args.h"
#include "python/observe/frames.h"
#include "python/reading/takings.h"
#include "python/room.h"
#include "python/sync/lock.h"
#include "python/threads/gil_state.h"
#include "python/threads/sleep.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static PyObject *teller; /* answers a question, a str, with a str */

/* ---- with the GIL ------------------------------------------------------------------------------------------------ */

/* A text from malloc; NULL, with no exception set, if Python fails. */
static char *ask_teller(const char *question)
{
    PyObject *answer = PyObject_CallFunction(teller, "s", question);
    const char *text = answer ? PyUnicode_AsUTF8(answer) : NULL;
    char *copy = text ? strdup(text) : NULL;

    if (PyErr_Occurred())
        PyErr_WriteUnraisable(teller);
    Py_XDECREF(answer);
    return copy;
}

static char *tell_with_gil(const char *question, int (*taken)(void))
{
    PyGILState_STATE state = PyGILState_Ensure();
    char *answer = taken() ? ask_teller(question) : NULL;

    PyGILState_Release(state);
    return answer;
}

/* ---- without the GIL --------------------------------------------------------------------------------------------- */

static void write_tasks(FILE *out)
{
    DIR *tasks = opendir("/proc/self/task");
    const char *between = "";

    /* cppcheck-suppress readdirCalled ; no other thread has this stream: glibc's readdir(3) is safe, readdir_r deprecated */
    for (struct dirent *task; tasks && (task = readdir(tasks));)
        if (task->d_name[0] != '.') {
            fprintf(out, "%s\"%s\":\"%s\"", between, task->d_name, calls_name(calls_of(task->d_name)));
            between = ",";
        }
    if (tasks)
        closedir(tasks);
}

struct writer {
    FILE *out;
    const char *between;
};

/* What the thread waits for may be gone. */
static void write_wait(FILE *out, const struct wait *wait)
{
    uintptr_t object = (uintptr_t)wait->object;
    LockObject lock;
    unsigned long holder = 0;

    if (inspect_copy_memory(&lock, object, sizeof lock) == 0 && (Py_TYPE(&lock) == lock_type || Py_TYPE(&lock) == rlock_type))
        holder = lock.owner;
    fputc(',', out);
    frames_write_type(out, object);
    fprintf(out, ",%lu,%lu,%.6f,", (unsigned long)object, holder, (double)wait->since / PARK_SECOND);
    if (wait->deadline == PARK_FOREVER)
        fputs("null", out);
    else
        fprintf(out, "%.6f", (double)wait->deadline / PARK_SECOND);
}

/* [ident, tid, serial number], and of a thread that waits its wait, with the serial number of the holder.  Under the lock of glibc's lists,
 * so the thread doesn't end. */
static void write_lwp(uintptr_t ident, int tid, void *arg)
{
    struct writer *writer = arg;
    struct wait wait;

    if (inspect_copy_memory(&wait, ident + (uintptr_t)wait_offset, sizeof wait) != 0)
        wait = (struct wait){0};
    fprintf(writer->out, "%s[%lu,%d,%lu", writer->between, (unsigned long)ident, tid, (unsigned long)wait.serial);
    if (wait.object)
        write_wait(writer->out, &wait);
    fputc(']', writer->out);
    writer->between = ",";
}

static char *tell_without_gil(const char *why)
{
    unsigned long switches;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    fprintf(out, "{\"without\":\"%s\",\"holder\":%lu,\"own\":%d,\"tasks\":{", why, frames_gil_holder(&switches), listen_tid(0));
    write_tasks(out);
    fputs("},\"lwps\":[", out);
    inspect_each_soon(write_lwp, &(struct writer){out, ""});
    fputs("],\"threads\":", out);
    frames_write(out);
    fputs("}\n", out);
    fclose(out);
    return text;
}

static unsigned long turns_of_gil(void)
{
    unsigned long switches = 0;

    (void)frames_gil_holder(&switches);
    return switches;
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

static const struct listen_answers answers = {tell_with_gil, tell_without_gil, turns_of_gil};

/* (path, teller) */
static PyObject *begin_listening(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *path, *function;
    int error;

    if (!PyArg_ParseTuple(args, "O&O:listen_begin", PyUnicode_FSConverter, &path, &function))
        return NULL;
    Py_XSETREF(teller, Py_NewRef(function));
    gil_place(calls_gil);
    frames_begin();
    takings_begin();
    Py_BEGIN_ALLOW_THREADS
    error = listen_begin(PyBytes_AS_STRING(path), &answers);
    Py_END_ALLOW_THREADS
    Py_DECREF(path);
    return error ? raise_errno(error) : Py_NewRef(Py_None);
}

static PyObject *end_listening(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    Py_BEGIN_ALLOW_THREADS
    listen_end();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* How deep in Python the caller of os.fork() is; 0: nothing is paused. */
static int forks_at;

static int python_depth(void)
{
    PyThreadState *tstate = PyThreadState_Get();
    return COMPAT_LIMIT(tstate) - COMPAT_REMAINING(tstate);
}

static PyObject *pause_listening(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    int paused = listen_may_pause();

    /* Otherwise the GIL is kept, as stock's os.fork() keeps it.  The main thread could come to the interpreter's end before the fork, and the
     * child could start no thread then: CPython 3.12.1's test_3_join_in_forked_from_thread. */
    if (paused) {
        Py_BEGIN_ALLOW_THREADS
        paused = listen_pause();
        Py_END_ALLOW_THREADS
    }
    forks_at = paused ? python_depth() : 0;
    Py_RETURN_NONE;
}

/* os.fork() counts threads after the last function that it calls in the parent.  Such functions of the program, deeper in Python than the
 * caller of os.fork(), are where a pending call may come first; then it asks to be called again. */
static int go_on_later(void *unused)
{
    if (!forks_at)
        return 0;
    if (python_depth() > forks_at) {
        Py_AddPendingCall(go_on_later, NULL);
        return 0;
    }
    forks_at = 0;
    Py_BEGIN_ALLOW_THREADS
    listen_go_on();
    Py_END_ALLOW_THREADS
    return 0;
}

static PyObject *go_on_listening(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (forks_at)
        Py_AddPendingCall(go_on_later, NULL); /* without it nobody can ask; the program goes on */
    Py_RETURN_NONE;
}

static PyObject *call_name(PyObject *Py_UNUSED(module), PyObject *op)
{
    char tid[32];
    long number = PyLong_AsLong(op);

    if (number == -1 && PyErr_Occurred())
        return NULL;
    snprintf(tid, sizeof tid, "%ld", number);
    int call = calls_of(tid);
    return call == CALLS_NONE ? Py_NewRef(Py_None) : PyUnicode_FromString(calls_name(call));
}

static PyObject *list_asides(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    int tids[ASIDES], count = aside_tids(tids);
    PyObject *list = PyList_New(0);

    for (int i = 0; i < count; i++)
        append_to(&list, PyLong_FromLong(tids[i]));
    return list;
}

static PyMethodDef functions[] = {
    {"call_of", call_name, METH_O,
     "call_of(tid): the system call that the task is in, or \"waiting for the GIL\"; None: in none, or the task is gone.  After\n"
     "listen_begin()."},
    {"listen_begin", begin_listening, METH_VARARGS,
     "listen_begin(path, teller): serves a socket at that path.  teller(question) returns an answer, a str.  OSError: EALREADY: this\n"
     "process does so already."},
    {"aside_tids", list_asides, METH_NOARGS,
     "The tids of the threads that sample, watch, listen and answer, which are not the program's."},
    {"listen_end", end_listening, METH_NOARGS, "Before the interpreter ends: Python answers no more, and the socket's file goes."},
    {"listen_pause", pause_listening, METH_NOARGS,
     "Before a fork: ends the threads that listen, if no others except the caller are there."},
    {"listen_go_on", go_on_listening, METH_NOARGS,
     "After the fork: has the main thread make them anew once os.fork(), which looks for threads, has returned."},
    {0},
};

const struct entries entries_asked = {.functions = functions};
