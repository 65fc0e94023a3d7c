/* The watching thread (observe/aside.h): it sees whether the program's threads still run.  run --watchdog is made of it.
 *
 * It takes the GIL only to call Python, and has no Thread, so the program runs and ends as if it were not there.  A forked child has none. */
#include "kernel/base/number.h"
#include "kernel/base/park.h"
#include "observe/aside.h"
#include "observe/calls.h"
#include "reading/inspect.h"
#include "python/args.h"
#include "python/observe/frames.h"
#include "python/reading/takings.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct {
    PyObject *look;
    int64_t every, patience, glance;
    int status, fd; /* status: with which a report ends the process; -1: the process goes on.  fd: where it is written */
    atomic_int stop;
    pthread_t thread;
    pid_t pid, making; /* the process that has the thread, or is making it */
} watch;

/* ---- whether anything moves -------------------------------------------------------------------------------------- */

/* ns of CPU time that don't count: more than passes between the readings of two clocks, and in a look for signals on a busy machine. */
enum { NOTHING = 100000, SLOW_LOOK = 5000000 };

struct activity {
    int64_t cpu; /* ns */
    long sleeps, looks; /* looks: sleeps after a look for signals */
};

static long count_sleeps(int who)
{
    struct rusage used;

    getrusage(who, &used);
    return used.ru_nvcsw;
}

/* The activity of all threads except this one, also of threads that have ended.  It is measured again when the main thread looked for
 * signals meanwhile, whose sleeps the kernel and the process count one after the other, and when this thread used time itself.  Not for
 * ever: the look may run a signal handler, and under Valgrind even a clock takes so long. */
static struct activity measure_activity(void)
{
    enum { TRIES = 20 };
    struct activity a;

    for (int tries = 0;; tries++) {
        int64_t began = park_clock(CLOCK_THREAD_CPUTIME_ID);
        int disturbed = atomic_load(&python_looks.looking);
        a.looks = atomic_load(&python_looks.sleeps);
        long mine = count_sleeps(RUSAGE_THREAD);
        a.sleeps = count_sleeps(RUSAGE_SELF) - mine - a.looks;
        a.cpu = park_clock(CLOCK_PROCESS_CPUTIME_ID) - began;
        disturbed = disturbed || atomic_load(&python_looks.looking) || atomic_load(&python_looks.sleeps) != a.looks
                    || count_sleeps(RUSAGE_THREAD) != mine || park_clock(CLOCK_THREAD_CPUTIME_ID) - began > NOTHING / 2;
        if (!disturbed || tries == TRIES)
            return a;
        park_wait(&watch.stop, 0, park_now() + PARK_SECOND / 1000, PARK_PRIVATE);
    }
}

/* A thread that computes may go on for long without a sleep, but uses CPU time. */
static int has_moved(struct activity before, struct activity now)
{
    long looks = now.looks - before.looks, nothing = NOTHING * (1 + looks) + (looks ? SLOW_LOOK : 0);

    return now.sleeps != before.sleeps || now.cpu - before.cpu > nothing;
}

/* ---- the guard --------------------------------------------------------------------------------------------------- */

/* What the watching thread reports may stop it too: a thread that sleeps in C code with the GIL, or that holds the lock of a file that is
 * to be flushed.  So while it needs those, a second thread, the guard, watches it. */
static struct {
    atomic_int busy;
    int seconds;     /* that the watching thread is given */
    int without_gil; /* it waits for the GIL.  It is given more time while others run, because one of them may have the GIL */
    int64_t since;
    unsigned long keeper, switches; /* of the GIL, as frames_gil_holder() has them */
    pthread_t thread;
    int made;
    atomic_int tid; /* 0: it has not begun */
} guard;

static void write_line(const char *text)
{
    size_t length = strlen(text);
    ssize_t written;

    for (; length > 0 && (written = write(watch.fd, text, length)) > 0; text += written)
        length -= (size_t)written;
}

/* Ends the process at once, without atexit handlers and without waiting for threads. */
static void exit_now(void)
{
    char text[64];

    snprintf(text, sizeof text, "lwp: the process ends with status %d\n", watch.status);
    write_line(text);
    _exit(watch.status);
}

/* Whether a thread other than the calling one is running or runnable (state R). */
static int others_run(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int found = 0, me = (int)syscall(SYS_gettid);

    /* cppcheck-suppress readdirCalled ; no other thread has this stream: glibc's readdir(3) is safe, readdir_r deprecated */
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

static void find_keeper(uintptr_t ident, int tid, void *found)
{
    if (ident == guard.keeper)
        *(int *)found = tid;
}

/* Writes which thread has kept the GIL since the guard began, and where, behind that beginning.  0: it isn't known. */
static int tell_keeper(const char *beginning)
{
    unsigned long switches;
    char *text = NULL, digits[16];
    size_t size;
    int tid = 0, same = guard.keeper && frames_gil_holder(&switches) == guard.keeper && switches == guard.switches;
    FILE *out = same ? open_memstream(&text, &size) : NULL;

    if (!out)
        return 0;
    inspect_each_soon(find_keeper, &tid);
    snprintf(digits, sizeof digits, "%d", tid);
    int call = calls_of(digits);
    fprintf(out, "%s: LWP %d%s%s, for %.0f s", beginning, tid, call == CALLS_NONE ? "" : " in ",
            call == CALLS_NONE ? "" : calls_name(call), (double)(park_now() - guard.since) / PARK_SECOND);
    frames_write_innermost(out, guard.keeper);
    fputc('\n', out);
    fclose(out);
    write_line(text);
    free(text);
    return 1;
}

/* Returns when the watching thread has called guard_end(), or its time is over. */
static void guard_wait(void)
{
    enum { LOOKS = 10 }; /* a second */
    int looks = 0, running = 0, told = 0;

    while (atomic_load(&guard.busy)) {
        park_wait(&guard.busy, 1, park_now() + PARK_SECOND / LOOKS, PARK_PRIVATE);
        if (guard.without_gil)
            running += others_run();
        if (++looks < guard.seconds * LOOKS)
            continue;
        /* A thread that waits for the GIL wakes up every 5 ms, but is seldom seen running.  So if others ran in half of the looks, one of
         * them has the GIL and computes: go on waiting. */
        if (!guard.without_gil || running < looks / 2)
            return;
        told = told || tell_keeper("lwp: a thread that runs has not given up the GIL");
        looks = running = 0;
    }
}

#define SLEEPS "lwp: nothing moves, and a thread that sleeps in C code keeps the GIL"

static void *guard_run(void *unused)
{
    atomic_store(&guard.tid, (int)syscall(SYS_gettid));
    park_wake(&guard.tid, 1, PARK_PRIVATE);
    guard_wait();
    if (!atomic_load(&guard.busy))
        return NULL;
    if (guard.without_gil && !tell_keeper(SLEEPS))
        write_line(SLEEPS ": there is no more to tell\n");
    if (watch.status >= 0)
        exit_now();
    return NULL;
}

static void guard_begin(int seconds, int without_gil)
{
    guard.seconds = seconds;
    guard.without_gil = without_gil;
    guard.since = park_now();
    guard.keeper = frames_gil_holder(&guard.switches);
    atomic_store(&guard.busy, 1);
    atomic_store(&guard.tid, 0);
    guard.made = aside_create(&guard.thread, NULL, guard_run) == 0;
}

static void guard_end(void)
{
    atomic_store(&guard.busy, 0);
    park_wake(&guard.busy, 1, PARK_PRIVATE);
    if (!guard.made)
        return;
    pthread_join(guard.thread, NULL);
    /* The guard's last switches are counted when the kernel has ended it, which is after the join.  Wait for that, or they would later
     * count as the program's activity. */
    for (int i = 0; i < 1000 && syscall(SYS_tgkill, getpid(), atomic_load(&guard.tid), 0) == 0; i++)
        park_wait(&guard.busy, 0, park_now() + PARK_SECOND / 1000, PARK_PRIVATE);
}

/* Of the guard that watches now, or 0. */
static int guard_tid(void)
{
    if (!guard.made || !atomic_load(&guard.busy))
        return 0;
    while (atomic_load(&guard.tid) == 0)
        park_wait(&guard.tid, 0, PARK_FOREVER, PARK_PRIVATE);
    return atomic_load(&guard.tid);
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

enum { GIL_SECONDS = 5, REPORT_SECONDS = 60, FLUSH_SECONDS = 5 };

/* The truth of what look() returns.  An exception goes to sys.unraisablehook and counts as false.  The caller has the GIL. */
static int ask_look(int still)
{
    PyObject *result = atomic_load(&watch.stop) ? Py_NewRef(Py_False) : PyObject_CallOneArg(watch.look, still ? Py_True : Py_False);
    int truth = result ? PyObject_IsTrue(result) : -1;

    if (truth < 0)
        PyErr_WriteUnraisable(watch.look);
    Py_XDECREF(result);
    return truth > 0;
}

static void flush_stream(const char *name)
{
    PyObject *file = PySys_GetObject(name);
    PyObject *result = file ? PyObject_CallMethod(file, "flush", NULL) : NULL;

    PyErr_Clear(); /* the stream is None or closed, or its disk is full */
    Py_XDECREF(result);
}

/* Ends the process with what Python and stdio have buffered written out, as far as that takes no longer than FLUSH_SECONDS. */
static void flush_and_exit(void)
{
    guard_begin(FLUSH_SECONDS, 0);
    flush_stream("stdout");
    flush_stream("stderr");
    fflush(NULL);
    exit_now();
}

/* Returns what look() said: whether it has reported something. */
static int call_look(int still)
{
    guard_begin(GIL_SECONDS, 1);
    PyGILState_STATE state = PyGILState_Ensure();
    guard_end();
    if (watch.status >= 0)
        guard_begin(REPORT_SECONDS, 0);
    int told = ask_look(still);
    if (watch.status >= 0)
        guard_end();
    if (told && watch.status >= 0)
        flush_and_exit();
    PyGILState_Release(state);
    return told;
}

/* Time is counted in turns and not read from a clock, or a process that was stopped (SIGSTOP) would seem to have stood still.
 *
 * A measurement that falls right between a look for signals, which this process counts, and the sleep that goes on after it, which the
 * kernel does, differs from those before and after it.  So only a movement that two measurements find counts. */
static void *watch_run(void *unused)
{
    int64_t next, still = 0, unseen = 0;
    int told = 0; /* this standstill has been reported */
    int doubted = 0; /* the last measurement was the first to find a movement */
    struct activity before = measure_activity(), now;

    for (;; before = doubted ? before : now) {
        next = park_now() + watch.every;
        while (!atomic_load(&watch.stop) && park_wait(&watch.stop, 0, next, PARK_PRIVATE) != ETIMEDOUT)
            ;
        if (atomic_load(&watch.stop))
            return NULL;
        now = measure_activity();
        unseen += watch.every;
        int moved = has_moved(before, now);
        if ((doubted = moved && !doubted))
            continue;
        still += watch.every;
        if (moved)
            told = still = 0;
        if (still >= watch.patience && !told && !others_run()) { /* a thread that waits for a processor does not stand still */
            told = call_look(1);
            still = unseen = 0;
            now = measure_activity(); /* the report and the guard have been active themselves */
        } else if (unseen >= watch.glance && !told) {
            call_look(0);
            unseen = 0;
            now = measure_activity();
        }
    }
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

/* (look, every, patience, status, fd, glance) */
static PyObject *watch_start(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *look;
    double every, patience, glance = 0;
    int status = -1, fd = 2;

    if (!PyArg_ParseTuple(args, "Odd|iid:watch_start", &look, &every, &patience, &status, &fd, &glance))
        return NULL;
    if (watch.pid == getpid() || watch.making == getpid()) {
        PyErr_SetString(PyExc_RuntimeError, "it is watched already");
        return NULL;
    }
    Py_XSETREF(watch.look, Py_NewRef(look)); /* in a forked child the parent's is still there */
    watch.every = (int64_t)(every * PARK_SECOND);
    watch.patience = (int64_t)(patience * PARK_SECOND);
    watch.glance = glance > 0 ? (int64_t)(glance * PARK_SECOND) : watch.patience;
    watch.status = status;
    watch.fd = fd;
    frames_begin();
    takings_begin();
    atomic_store(&python_looks.counts, 1);
    atomic_store(&watch.stop, 0);
    int error;
    watch.making = getpid();
    Py_BEGIN_ALLOW_THREADS
    error = aside_create(&watch.thread, NULL, watch_run);
    Py_END_ALLOW_THREADS
    watch.making = 0;
    if (error) {
        Py_CLEAR(watch.look);
        return raise_errno(error);
    }
    watch.pid = getpid();
    Py_RETURN_NONE;
}

static PyObject *watch_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (watch.pid != getpid())
        Py_RETURN_NONE;
    watch.pid = 0;
    atomic_store(&python_looks.counts, 0);
    atomic_store(&watch.stop, 1);
    park_wake(&watch.stop, 1, PARK_PRIVATE);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(watch.thread, NULL);
    Py_END_ALLOW_THREADS
    Py_CLEAR(watch.look);
    Py_RETURN_NONE;
}

static PyObject *watch_own(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (atomic_load(&watch.stop))
        Py_RETURN_NONE;
    return Py_BuildValue("(ii)", (int)syscall(SYS_gettid), guard_tid());
}

static PyMethodDef functions[] = {
    {"watch_start", watch_start, METH_VARARGS,
     "watch_start(look, every, patience, status=-1, fd=2, glance=0): starts the watching thread, which looks every `every` seconds.\n"
     "When no other thread has run for `patience` seconds it calls look(True), and not again in this standstill if that returned true;\n"
     "otherwise it calls look(False) every `glance` seconds (0: `patience`).  status: if not negative, the process ends with it, and\n"
     "with a line on fd, when look() has returned true, or when the thread doesn't get the GIL for seconds.\n"
     "RuntimeError: the process is watched already."},
    {"watch_own", watch_own, METH_NOARGS,
     "For look(): the tids of the calling thread and of the guard, or 0; the program doesn't have them.  None: watch_stop() waits."},
    {"watch_stop", watch_stop, METH_NOARGS, "Ends the watching thread, after a call that is under way."},
    {0},
};

const struct entries entries_watch = {.functions = functions};
