/* A thread that looks at the program from beside it: what run --watchdog and --live stand on.
 *
 * It is a pthread, since it must not be counted among the threads that it looks at, nor stand on what may have stopped working.
 * It gets no signals, takes the GIL only to call, and has no Thread: the program goes on and ends as if it were not there.
 * A forked child has none. */
#include "base/number.h"
#include "base/park.h"
#include "python/rooms.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct {
    PyObject *tick, *look; /* either may be None */
    int64_t every, patience;
    int status, fd; /* status: with which a report ends the process; -1: it doesn't */
    atomic_int stop;
    pthread_t thread;
    pid_t pid, making; /* the process that has one, or is making it */
} watch;

/* ---- whether anything moves -------------------------------------------------------------------------------------- */

enum { NOTHING = 100000 }; /* ns of CPU time: more than the readings of two clocks are apart */

struct activity {
    int64_t cpu; /* ns */
    long switches;
};

static long count_switches(int who)
{
    struct rusage used;

    getrusage(who, &used);
    return used.ru_nvcsw + used.ru_nivcsw;
}

/* All threads', also of those that have ended, but for this one's. */
static struct activity measure_activity(void)
{
    struct activity a;
    long mine;

    do {
        mine = count_switches(RUSAGE_THREAD);
        a.switches = count_switches(RUSAGE_SELF) - mine;
        a.cpu = park_clock(CLOCK_PROCESS_CPUTIME_ID) - park_clock(CLOCK_THREAD_CPUTIME_ID);
    } while (mine != count_switches(RUSAGE_THREAD));
    return a;
}

/* Who goes to sleep is switched away, who computes may not be for long. */
static int has_moved(struct activity before, struct activity now)
{
    return now.switches != before.switches || now.cpu - before.cpu > NOTHING;
}

/* ---- the guard --------------------------------------------------------------------------------------------------- */

/* The watching thread can be stopped by what it reports: a thread that sleeps in C code with the GIL, or that holds the lock of a
 * file which is to be flushed.  So another one looks after it then. */
static struct {
    atomic_int busy;
    int seconds;     /* at most */
    int without_gil; /* the watching thread waits for the GIL: longer than that while others run, for one of them may have it */
    pthread_t thread;
    int made, tid;
} guard;

static void write_line(const char *text)
{
    size_t length = strlen(text);
    ssize_t written;

    for (; length > 0 && (written = write(watch.fd, text, length)) > 0; text += written)
        length -= (size_t)written;
}

/* At once: neither atexit nor the ends of threads are waited for. */
static void exit_now(void)
{
    char text[64];

    snprintf(text, sizeof text, "lwp: the process ends with status %d\n", watch.status);
    write_line(text);
    _exit(watch.status);
}

/* Whether a thread but the calling one is on a CPU, or would be if there were one for it. */
static int somebody_runs(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int found = 0, me = (int)syscall(SYS_gettid);

    /* cppcheck-suppress readdirCalled ; a stream of the caller's own: glibc's readdir(3) is safe, readdir_r deprecated */
    for (struct dirent *task; tasks && !found && (task = readdir(tasks));) {
        char path[300], text[512], *name_end;
        const char *digits = task->d_name;
        int tid = (int)number_read(&digits, 10);
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
        int fd = tid && tid != me ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (length <= 0)
            continue; /* it has ended */
        text[length] = 0;
        found = (name_end = strrchr(text, ')')) && !strncmp(name_end, ") R", 3);
    }
    if (tasks)
        closedir(tasks);
    return found;
}

/* Returns when the watching thread has come back, or it is too late for that. */
static void guard_wait(void)
{
    enum { LOOKS = 10 }; /* a second */
    int looks = 0, running = 0;

    while (atomic_load(&guard.busy)) {
        park_wait(&guard.busy, 1, park_now() + PARK_SECOND / LOOKS, PARK_PRIVATE);
        if (guard.without_gil)
            running += somebody_runs();
        if (++looks < guard.seconds * LOOKS)
            continue;
        /* Who waits for the GIL wakes up every 5 ms, but is seldom seen at it. */
        if (!guard.without_gil || running < looks / 2)
            return;
        looks = running = 0;
    }
}

static void *guard_run(void *unused)
{
    guard.tid = (int)syscall(SYS_gettid);
    guard_wait();
    if (!atomic_load(&guard.busy))
        return NULL;
    if (guard.without_gil)
        write_line("lwp: nothing moves, and a thread that sleeps in C code keeps the GIL: there is no more to tell\n");
    if (watch.status >= 0)
        exit_now();
    return NULL;
}

/* It has the signal mask of the watching thread, which makes it. */
static void guard_begin(int seconds, int without_gil)
{
    guard.seconds = seconds;
    guard.without_gil = without_gil;
    atomic_store(&guard.busy, 1);
    guard.made = pthread_create(&guard.thread, NULL, guard_run, NULL) == 0;
}

static void guard_end(void)
{
    atomic_store(&guard.busy, 0);
    park_wake(&guard.busy, 1, PARK_PRIVATE);
    if (!guard.made)
        return;
    pthread_join(guard.thread, NULL);
    /* The kernel counts its last switches when it is gone: a bit later.  They are not to pass for the program's. */
    for (int i = 0; i < 1000 && syscall(SYS_tgkill, getpid(), guard.tid, 0) == 0; i++)
        sched_yield();
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

enum { GIL_SECONDS = 5, REPORT_SECONDS = 60, FLUSH_SECONDS = 5 };

/* What the function returns, as a truth value; what it raises is told.  The caller has the GIL. */
static int call_function(PyObject *function, PyObject *argument)
{
    PyObject *result = atomic_load(&watch.stop) ? Py_NewRef(Py_False)
                       : argument               ? PyObject_CallOneArg(function, argument)
                                                : PyObject_CallNoArgs(function);
    int truth = result ? PyObject_IsTrue(result) : -1;

    if (truth < 0)
        PyErr_WriteUnraisable(function);
    Py_XDECREF(result);
    return truth > 0;
}

static void flush_stream(const char *name)
{
    PyObject *file = PySys_GetObject(name);
    PyObject *result = file ? PyObject_CallMethod(file, "flush", NULL) : NULL;

    PyErr_Clear(); /* it is None, closed, or its disk is full */
    Py_XDECREF(result);
}

/* What can be written out is. */
static void flush_and_exit(void)
{
    guard_begin(FLUSH_SECONDS, 0);
    flush_stream("stdout");
    flush_stream("stderr");
    fflush(NULL);
    exit_now();
}

static void call_tick(void)
{
    PyGILState_STATE state = PyGILState_Ensure();

    call_function(watch.tick, NULL);
    PyGILState_Release(state);
}

/* Whether something was told. */
static int call_look(int still)
{
    guard_begin(GIL_SECONDS, 1);
    PyGILState_STATE state = PyGILState_Ensure();
    guard_end();
    if (watch.status >= 0)
        guard_begin(REPORT_SECONDS, 0);
    int told = call_function(watch.look, still ? Py_True : Py_False);
    if (watch.status >= 0)
        guard_end();
    if (told && watch.status >= 0)
        flush_and_exit();
    PyGILState_Release(state);
    return told;
}

/* Time is counted in turns, not read: a process that was stopped (SIGSTOP) has not stood still meanwhile. */
static void *watch_run(void *unused)
{
    int64_t next, still = 0, unseen = 0;
    int told = 0; /* of this standstill */
    struct activity before = measure_activity(), now;

    for (;; before = now) {
        next = park_now() + watch.every;
        while (!atomic_load(&watch.stop) && park_wait(&watch.stop, 0, next, PARK_PRIVATE) != ETIMEDOUT)
            ;
        if (atomic_load(&watch.stop))
            return NULL;
        if (watch.tick != Py_None)
            call_tick();
        now = measure_activity();
        if (watch.look == Py_None)
            continue;
        unseen += watch.every;
        still += watch.every;
        if (has_moved(before, now))
            told = still = 0;
        if (still >= watch.patience && !told) {
            told = call_look(1);
            still = unseen = 0;
            now = measure_activity(); /* the guard is a thread, too */
        } else if (unseen >= watch.patience && !told) {
            call_look(0);
            unseen = 0;
            now = measure_activity();
        }
    }
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

/* (tick, look, every, patience, status, fd) */
static PyObject *watch_start(PyObject *module, PyObject *args)
{
    PyObject *tick, *look;
    double every, patience;
    int status = -1, fd = 2;
    sigset_t all, before;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOdd|ii:watch_start", &tick, &look, &every, &patience, &status, &fd))
        return NULL;
    if (watch.pid == getpid() || watch.making == getpid()) {
        PyErr_SetString(PyExc_RuntimeError, "it is watched already");
        return NULL;
    }
    Py_XSETREF(watch.tick, Py_NewRef(tick)); /* in a forked child the parent's are there */
    Py_XSETREF(watch.look, Py_NewRef(look));
    watch.every = (int64_t)(every * PARK_SECOND);
    watch.patience = (int64_t)(patience * PARK_SECOND);
    watch.status = status;
    watch.fd = fd;
    atomic_store(&watch.stop, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error;
    watch.making = getpid();
    Py_BEGIN_ALLOW_THREADS
    error = pthread_create(&watch.thread, NULL, watch_run, NULL);
    Py_END_ALLOW_THREADS
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    watch.making = 0;
    if (error) {
        Py_CLEAR(watch.tick);
        Py_CLEAR(watch.look);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    watch.pid = getpid();
    Py_RETURN_NONE;
}

static PyObject *watch_stop(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    if (watch.pid != getpid())
        Py_RETURN_NONE;
    watch.pid = 0;
    atomic_store(&watch.stop, 1);
    park_wake(&watch.stop, 1, PARK_PRIVATE);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(watch.thread, NULL);
    Py_END_ALLOW_THREADS
    Py_CLEAR(watch.tick);
    Py_CLEAR(watch.look);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"watch_start", watch_start, METH_VARARGS,
     "watch_start(tick, look, every, patience, status=-1, fd=2): from a thread beside the program, every so many seconds tick() is\n"
     "called, and look(True) when no thread has run for `patience` seconds, once if that returned true; look(False) after as long\n"
     "otherwise.  None for either: not called.  status: if not negative, the process ends with it when look has returned true, and\n"
     "when it doesn't get the GIL within seconds, which is told on fd.  RuntimeError: it is watched already."},
    {"watch_stop", watch_stop, METH_NOARGS, "Ends that, after a call that is under way."},
    {0},
};

int python_add_watch(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
