/* A thread that looks at the program from beside it: what run --watchdog and --live stand on.
 *
 * It is a pthread, since it must not be counted among the threads that it looks at, nor stand on what may have stopped working.
 * It gets no signals, takes the GIL only to call, and has no Thread: the program goes on and ends as if it were not there.
 * A forked child has none. */
#include "python_types.h"

#include "park.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static struct {
    PyObject *tick, *look; /* either may be None */
    int64_t every, patience;
    atomic_int stop;
    pthread_t thread;
    pid_t pid; /* 0: there is none */
} watch;

/* ---- whether anything moves -------------------------------------------------------------------------------------- */

enum { NOTHING = 100000 }; /* ns of CPU time: more than the readings of two clocks are apart */

struct activity {
    int64_t cpu; /* ns */
    long switches;
};

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static long switches(int who)
{
    struct rusage used;

    getrusage(who, &used);
    return used.ru_nvcsw + used.ru_nivcsw;
}

/* All threads', also of those that have ended, but for this one's. */
static struct activity activity(void)
{
    struct activity a;
    long mine;

    do {
        mine = switches(RUSAGE_THREAD);
        a.switches = switches(RUSAGE_SELF) - mine;
        a.cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - clock_ns(CLOCK_THREAD_CPUTIME_ID);
    } while (mine != switches(RUSAGE_THREAD));
    return a;
}

/* Who goes to sleep is switched away, who computes may not be for long. */
static int moved(struct activity before, struct activity now)
{
    return now.switches != before.switches || now.cpu - before.cpu > NOTHING;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

/* What the function returns, as a truth value; what it raises is told. */
static int call(PyObject *function, PyObject *argument)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *result = atomic_load(&watch.stop) ? Py_NewRef(Py_False)
                       : argument               ? PyObject_CallOneArg(function, argument)
                                                : PyObject_CallNoArgs(function);
    int truth = result ? PyObject_IsTrue(result) : -1;

    if (truth < 0)
        PyErr_WriteUnraisable(function);
    Py_XDECREF(result);
    PyGILState_Release(state);
    return truth > 0;
}

/* Time is counted in turns, not read: a process that was stopped (SIGSTOP) has not stood still meanwhile. */
static void *run(void *unused)
{
    int64_t next, still = 0, unseen = 0;
    int told = 0; /* of this standstill */
    struct activity before = activity(), now;

    for (;; before = now) {
        next = park_now() + watch.every;
        while (!atomic_load(&watch.stop) && park_wait(&watch.stop, 0, next, PARK_PRIVATE) != ETIMEDOUT)
            ;
        if (atomic_load(&watch.stop))
            return NULL;
        if (watch.tick != Py_None)
            call(watch.tick, NULL);
        now = activity();
        if (watch.look == Py_None)
            continue;
        unseen += watch.every;
        still += watch.every;
        if (moved(before, now))
            told = still = 0;
        if (still >= watch.patience && !told) {
            told = call(watch.look, Py_True);
            still = unseen = 0;
        } else if (unseen >= watch.patience && !told) {
            call(watch.look, Py_False);
            unseen = 0;
        }
    }
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

/* (tick, look, every, patience) */
static PyObject *watch_start(PyObject *module, PyObject *args)
{
    PyObject *tick, *look;
    double every, patience;
    sigset_t all, before;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOdd:watch_start", &tick, &look, &every, &patience))
        return NULL;
    if (watch.pid == getpid()) {
        PyErr_SetString(PyExc_RuntimeError, "it is watched already");
        return NULL;
    }
    Py_XSETREF(watch.tick, Py_NewRef(tick)); /* in a forked child the parent's are there */
    Py_XSETREF(watch.look, Py_NewRef(look));
    watch.every = (int64_t)(every * 1e9);
    watch.patience = (int64_t)(patience * 1e9);
    atomic_store(&watch.stop, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&watch.thread, NULL, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
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
     "watch_start(tick, look, every, patience): from a thread beside the program, every so many seconds tick() is called, and\n"
     "look(True) when no thread has run for `patience` seconds, once if that returned true; look(False) after as long\n"
     "otherwise.  None for either: not called.  RuntimeError: it is watched already."},
    {"watch_stop", watch_stop, METH_NOARGS, "Ends that, after a call that is under way."},
    {0},
};

int python_add_watch(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
