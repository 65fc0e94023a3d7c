/* Green threads for Python: the base of the type Scheduler, and the functions that a green thread calls. */
#include "python/green/scheduler.h"

#include "kernel/glibc/glibc.h"
#include "green/green.h"
#include "green/shared_lwp.h"
#include "kernel/lwp/lwp.h"
#include "python/args.h"
#include "python/threads/faulthandler.h"
#include "python/room.h"
#include "python/threads/sleep.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>

typedef struct {
    PyObject_HEAD
    struct scheduler *scheduler;
} SchedulerObject;

enum { CARRIER_STACK = 64 * 1024, MOST_LWPS = 1024 };
#define LEAST_SLICE 100000          /* ns: with a shorter slice the watcher would be busy all the time */
#define MOST_SLICE 1000000000000000 /* ns */

const struct foreign_room *foreign_room;
static PyTypeObject *scheduler_type;

struct scheduler *python_scheduler(PyObject *op)
{
    if (PyObject_TypeCheck(op, scheduler_type))
        return ((SchedulerObject *)op)->scheduler;
    PyErr_Format(PyExc_TypeError, "scheduler must be a Scheduler or None, not %.100s", Py_TYPE(op)->tp_name);
    return NULL;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void run_carrier(void *scheduler)
{
    scheduler_carry(scheduler);
}

static atomic_int signal_stacks; /* whether faulthandler is on, for spawn_carrier(), which can't ask: it may run without the GIL */

static int spawn_carrier(struct scheduler *scheduler)
{
    struct lwp *lwp = lwp_new(CARRIER_STACK);

    if (!lwp)
        return errno;
    lwp->signal_stack = atomic_load(&signal_stacks);
    lwp->aside = 1;
    int error = lwp_start(lwp, lwp_thread_flags, 0, run_carrier, scheduler);
    lwp_release(lwp);
    return error;
}

int python_spawn_carriers(struct scheduler *scheduler)
{
    int error = 0, missing = scheduler_missing_carriers(scheduler);

    if (missing)
        atomic_store(&signal_stacks, faulthandler_is_on());
    for (; missing > 0; missing--)
        if (error || (error = spawn_carrier(scheduler)) != 0)
            scheduler_carrier_failed(scheduler);
    return error;
}

/* The scheduler's threads may run from here to stop_running(): on the caller's LWP, or on its own LWPs once they are made.  -1 with an
 * exception. */
static int begin_serving(struct scheduler *scheduler)
{
    int error = scheduler_own_lwps(scheduler) ? scheduler_serve(scheduler) : scheduler_attach(scheduler);

    if (error)
        return refuse(PyExc_RuntimeError,
                      error == EBUSY ? "another thread runs this scheduler" : "the calling thread is on a scheduler itself");
    return 0;
}

static int begin_running(struct scheduler *scheduler)
{
    int error;

    if (begin_serving(scheduler) < 0)
        return -1;
    if (!scheduler_own_lwps(scheduler))
        return 0;
    python_give_up_begin();
    error = python_spawn_carriers(scheduler);
    python_give_up_end();
    if (!error)
        return 0;
    scheduler_stop(scheduler);
    raise_errno(error);
    return -1;
}

static void stop_running(struct scheduler *scheduler)
{
    if (scheduler_own_lwps(scheduler))
        scheduler_stop(scheduler);
    else
        scheduler_detach(scheduler);
}

static int await_once(void *scheduler)
{
    return scheduler_await(scheduler);
}

/* Sleeps until all its threads except daemons have ended.  -1 with what a signal handler raised, or Deadlock. */
static int await_threads(struct scheduler *scheduler)
{
    return python_sleep_on(&(struct python_sleep){await_once, scheduler}, scheduler);
}

static PyObject *scheduler_run(PyObject *op, PyObject *Py_UNUSED(unused))
{
    struct scheduler *scheduler = ((SchedulerObject *)op)->scheduler;
    int lent = scheduler_lent_by_me(scheduler);

    if (!lent && begin_running(scheduler) < 0)
        return NULL;
    int result = await_threads(scheduler);
    if (!lent)
        stop_running(scheduler);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

/* The scheduler's own LWPs are made when its first thread is started. */
static PyObject *scheduler_lend(PyObject *op, PyObject *Py_UNUSED(unused))
{
    return begin_serving(((SchedulerObject *)op)->scheduler) < 0 ? NULL : Py_NewRef(Py_None);
}

static int refuse_others(struct scheduler *scheduler)
{
    if (scheduler_own_lwps(scheduler) || scheduler_lent_by_me(scheduler))
        return 0;
    return refuse(PyExc_RuntimeError, "the calling thread has not lent its LWP to this scheduler");
}

static PyObject *scheduler_take_back(PyObject *op, PyObject *Py_UNUSED(unused))
{
    struct scheduler *scheduler = ((SchedulerObject *)op)->scheduler;

    if (refuse_others(scheduler) < 0)
        return NULL;
    stop_running(scheduler);
    Py_RETURN_NONE;
}

/* An ended thread isn't counted any more when its join() returns (green_finish_switch()). */
static PyObject *scheduler_take_back_if_empty(PyObject *op, PyObject *Py_UNUSED(unused))
{
    struct scheduler *scheduler = ((SchedulerObject *)op)->scheduler;

    if (refuse_others(scheduler) < 0)
        return NULL;
    if (scheduler_threads(scheduler) > 0)
        Py_RETURN_FALSE;
    stop_running(scheduler);
    Py_RETURN_TRUE;
}

/* Called at the end of the program.  Returns when all threads except daemons have ended, whichever thread runs their schedulers. */
static PyObject *run_all(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct scheduler *scheduler;

    while ((scheduler = scheduler_with_waited_threads())) {
        int mine = begin_running(scheduler) == 0;
        if (!mine && !PyErr_ExceptionMatches(PyExc_RuntimeError))
            return NULL; /* no LWP could be made for it, so nothing would run the threads that it waits for */
        PyErr_Clear(); /* another thread runs it, or this thread can't: wait for it all the same */
        int result = await_threads(scheduler);
        if (mine)
            stop_running(scheduler);
        if (result < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- calls of a green thread ------------------------------------------------------------------------------------- */

static PyObject *yield_turn(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    Py_BEGIN_ALLOW_THREADS
    green_yield();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* As time.sleep() takes it: -1 with an exception. */
static int sleep_deadline(PyObject *seconds, int64_t *deadline)
{
    if (seconds == Py_None)
        return refuse(PyExc_TypeError, "sleep() takes a number of seconds, not None");
    if (args_deadline(seconds, deadline) < 0)
        return -1;
    PyObject *zero = *deadline == 0 ? PyLong_FromLong(0) : NULL;
    int negative = *deadline != 0 ? 0 : zero ? PyObject_RichCompareBool(seconds, zero, Py_LT) : -1;
    Py_XDECREF(zero);
    if (negative > 0)
        PyErr_SetString(PyExc_ValueError, "sleep length must be non-negative");
    return negative ? -1 : 0;
}

int python_sleep_until(void *deadline)
{
    atomic_int word = 0; /* no other thread knows it, so only the deadline or a signal ends the wait */
    int result;

    while ((result = park_wait(&word, 0, *(int64_t *)deadline, PARK_PRIVATE)) == 0)
        ;
    return result == ETIMEDOUT ? 0 : result;
}

PyObject *scheduler_sleep(PyObject *module, PyObject *seconds)
{
    int64_t deadline;

    if (sleep_deadline(seconds, &deadline) < 0)
        return NULL;
    if (deadline == 0)
        return yield_turn(module, NULL);
    return python_sleep_on(&(struct python_sleep){python_sleep_until, &deadline, .what = "sleep"}, NULL) < 0 ? NULL
                                                                                                             : Py_NewRef(Py_None);
}

struct fd_wait {
    int fd;
    unsigned events, found;
    const unsigned *closings;
    int64_t deadline;
};

static int wait_fd_once(void *arg)
{
    struct fd_wait *w = arg;

    return green_wait_fd(w->fd, w->events, w->closings, w->deadline, &w->found);
}

int python_wait_fd(int fd, unsigned events, const unsigned *closings, int64_t deadline, unsigned *found)
{
    struct fd_wait wait = {.fd = fd, .events = events, .closings = closings, .deadline = deadline};
    int result = python_sleep_on(&(struct python_sleep){wait_fd_once, &wait, .what = "file"}, NULL);

    *found = wait.found;
    return result;
}

static PyObject *wait_fd(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "events", "timeout", NULL};
    PyObject *file, *timeout = Py_None;
    struct fd_wait wait = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OI|O:wait_fd", names, &file, &wait.events, &timeout))
        return NULL;
    if ((wait.fd = PyObject_AsFileDescriptor(file)) < 0 || args_deadline(timeout, &wait.deadline) < 0)
        return NULL;
    int result = python_wait_fd(wait.fd, wait.events, NULL, wait.deadline, &wait.found);
    if (result < 0)
        return NULL;
    if (result && result != ETIMEDOUT)
        return raise_errno(result);
    return PyLong_FromUnsignedLong(result ? 0 : wait.found);
}

struct fds_wait {
    struct pollfd *files; /* and room for one more */
    int count;
    int64_t deadline;
};

static int wait_fds_once(void *arg)
{
    struct fds_wait *w = arg;

    return green_wait_fds(w->files, w->count, w->deadline);
}

/* 0, or -1 with an exception. */
static int fill_files(struct fds_wait *w, PyObject *events_of)
{
    PyObject *fd, *events;

    for (Py_ssize_t at = 0; w->count < PyDict_GET_SIZE(events_of) && PyDict_Next(events_of, &at, &fd, &events); w->count++) {
        w->files[w->count] = (struct pollfd){.fd = (int)PyLong_AsLong(fd), .events = (short)PyLong_AsLong(events)};
        if (PyErr_Occurred())
            return -1;
    }
    return 0;
}

static PyObject *found_in(const struct fds_wait *w)
{
    PyObject *found = PyDict_New();

    for (int i = 0; found && i < w->count; i++) {
        if (!w->files[i].revents)
            continue;
        PyObject *fd = PyLong_FromLong(w->files[i].fd), *events = PyLong_FromLong((unsigned short)w->files[i].revents);
        if (!fd || !events || PyDict_SetItem(found, fd, events) < 0)
            Py_CLEAR(found);
        Py_XDECREF(fd);
        Py_XDECREF(events);
    }
    return found;
}

static PyObject *wait_for_files(struct fds_wait *w, PyObject *events_of)
{
    int result = fill_files(w, events_of) < 0 ? -1 : python_sleep_on(&(struct python_sleep){wait_fds_once, w, .what = "files"}, NULL);

    if (result < 0)
        return NULL;
    if (result == ETIMEDOUT)
        return PyDict_New();
    return result ? raise_errno(result) : found_in(w);
}

/* The dictionary is the caller's own: no other thread changes it meanwhile. */
static PyObject *wait_fds(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    struct fds_wait wait = {0};

    if (count != 2 || !PyDict_Check(args[0]))
        return PyErr_Format(PyExc_TypeError, "wait_fds() takes a dict, of events by descriptor, and a timeout");
    if (args_deadline(args[1], &wait.deadline) < 0)
        return NULL;
    if (!(wait.files = PyMem_New(struct pollfd, PyDict_GET_SIZE(args[0]) + 1)))
        return PyErr_NoMemory();
    PyObject *found = wait_for_files(&wait, args[0]);
    PyMem_Free(wait.files);
    return found;
}

/* The GIL keeps schedulers from being freed meanwhile.  An argument that is no descriptor is passed over, because the close itself
 * raises. */
static PyObject *about_closing(PyObject *fd, void (*call)(int fd))
{
    long number = PyLong_AsLong(fd);

    if (number == -1)
        PyErr_Clear();
    else if (number >= 0 && number <= INT_MAX)
        call((int)number);
    Py_RETURN_NONE;
}

static PyObject *fd_closing(PyObject *Py_UNUSED(module), PyObject *fd)
{
    return about_closing(fd, green_fd_closing);
}

static PyObject *fd_closed(PyObject *Py_UNUSED(module), PyObject *fd)
{
    return about_closing(fd, green_fd_closed);
}

int python_may_block(void)
{
    if (!park_green)
        return 0;
    if (green_turn_is_over()) {
        Py_BEGIN_ALLOW_THREADS
        green_end_turn();
        Py_END_ALLOW_THREADS
    }
    return 1;
}

RETURNS(may_block, PyBool_FromLong(python_may_block()))

static PyObject *may_poll(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    if (python_may_block())
        Py_RETURN_TRUE;
    Py_BEGIN_ALLOW_THREADS
    green_let_go_first();
    Py_END_ALLOW_THREADS
    Py_RETURN_FALSE;
}

static PyObject *set_describe_deadlock(PyObject *Py_UNUSED(module), PyObject *function)
{
    python_set_describe_deadlock(function);
    Py_RETURN_NONE;
}

static PyObject *count_greens(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct green_counts found = green_count();

    return Py_BuildValue("(llll)", found.started, found.switches, found.sleeps, found.hand_overs);
}

static void see_runner(const struct green_runner *runner, void *arg)
{
    append_to(arg, Py_BuildValue("(kiliO)", (unsigned long)glibc_pthread(runner->tp), runner->tid, runner->switches, runner->waiting,
                                 runner->sliced ? Py_True : Py_False));
}

static PyObject *green_runners(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    PyObject *list = PyList_New(0);

    green_each_runner(see_runner, &list);
    return list;
}

/* ---- the type ---------------------------------------------------------------------------------------------------- */

/* The type of the exception for an argument whose conversion has failed (TypeError) or given a number out of bounds (ValueError); NULL:
 * the argument itself has raised another exception. */
static PyObject *refused_with(void)
{
    if (!PyErr_Occurred())
        return PyExc_ValueError;
    return PyErr_ExceptionMatches(PyExc_TypeError) ? PyExc_TypeError : NULL;
}

/* Nanoseconds, or -1 with an exception. */
static int64_t slice_of(PyObject *seconds)
{
    double value = PyFloat_AsDouble(seconds);

    if (value * PARK_SECOND >= LEAST_SLICE && value * PARK_SECOND <= MOST_SLICE) /* which NaN isn't */
        return (int64_t)(value * PARK_SECOND);
    PyObject *kind = refused_with();
    if (kind)
        PyErr_Format(kind, "time_slice must be a number of seconds from 0.0001 to 1e6, or None, not %R", seconds);
    return -1;
}

/* 0 with an exception. */
static int lwps_of(PyObject *number)
{
    int overflow;
    long value = PyLong_AsLongAndOverflow(number, &overflow);

    if (value >= 1 && value <= MOST_LWPS)
        return (int)value;
    PyObject *kind = refused_with();
    if (kind)
        PyErr_Format(kind, "lwps must be a whole number from 1 to %d, not %R", MOST_LWPS, number);
    return 0;
}

static PyObject *scheduler_tp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"lwps", "time_slice", NULL};
    PyObject *number = NULL, *time_slice = Py_None;
    int64_t slice = 0;
    int lwps = 1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:Scheduler", names, &number, &time_slice)
        || (number && !(lwps = lwps_of(number))) || (time_slice != Py_None && (slice = slice_of(time_slice)) < 0))
        return NULL;
    const char *why = scheduler_init();
    if (why)
        return PyErr_Format(PyExc_RuntimeError, "no green threads here: %s", why);
    Py_BEGIN_ALLOW_THREADS /* the thread that has the linker's locks may want the GIL */
    green_lwp_watch_masks();
    Py_END_ALLOW_THREADS
    if ((lwps > 1 || slice) && foreign_room)
        foreign_room->watch();
    SchedulerObject *self = (SchedulerObject *)type->tp_alloc(type, 0);
    if (self && !(self->scheduler = scheduler_new(lwps, slice))) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static void scheduler_tp_dealloc(PyObject *op)
{
    struct scheduler *scheduler = ((SchedulerObject *)op)->scheduler;

    /* At the interpreter's end nobody has stopped the LWPs of install()'s scheduler: daemon threads in C code go on until the process
     * ends, as on LWPs of their own.  It is left to them. */
    if (scheduler && !(scheduler_own_lwps(scheduler) && scheduler_is_run(scheduler)))
        scheduler_free(scheduler);
    simple_dealloc(op);
}

GETTER(get_tid, PyLong_FromLong(scheduler_tid(((SchedulerObject *)op)->scheduler)))
GETTER(get_unfinished, PyLong_FromLong(scheduler_waited(((SchedulerObject *)op)->scheduler)))

static PyMethodDef scheduler_methods[] = {
    {"run", scheduler_run, METH_NOARGS, NULL},
    {"_lend", scheduler_lend, METH_NOARGS, NULL},
    {"_take_back", scheduler_take_back, METH_NOARGS, NULL},
    {"_take_back_if_empty", scheduler_take_back_if_empty, METH_NOARGS, NULL},
    {0},
};

static PyGetSetDef scheduler_attributes[] = {
    {"tid", get_tid, NULL, "The kernel's id of an LWP that runs its threads, or did last; 0 before.", NULL},
    {"unfinished", get_unfinished, NULL, "How many of its threads that are not daemons have not ended.", NULL},
    {0},
};

TYPE_SPEC(scheduler, "runtime.native.SchedulerBase", SchedulerObject, Py_TPFLAGS_BASETYPE, {Py_tp_new, scheduler_tp_new},
          {Py_tp_dealloc, scheduler_tp_dealloc}, {Py_tp_methods, scheduler_methods}, {Py_tp_getset, scheduler_attributes});

/* ---- a higher floor that has threads under its control ------------------------------------------------------------ */

static PyObject *under_control(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    PyObject *scheduler = python_control ? python_control->scheduler() : NULL;

    return Py_NewRef(scheduler ? scheduler : Py_None);
}

RETURNS(is_unwinding, PyBool_FromLong(python_control && python_control->unwinds(0)))

static PyMethodDef functions[] = {
    {"under_control", under_control, METH_NOARGS,
     "If the calling thread is one of a run that is explored, the Scheduler on which it must start others; otherwise None."},
    {"is_unwinding", is_unwinding, METH_NOARGS, "Whether that run is over, and what ends this thread ends the others."},
    {"yield_", yield_turn, METH_NOARGS,
     "yield_($module, /)\n--\n\n"
     "Lets the other threads of the calling thread's scheduler go first; in a thread that is on none, sched_yield(2)."},
    {"sleep", scheduler_sleep, METH_O,
     "sleep($module, seconds, /)\n--\n\n"
     "As time.sleep(); a thread that is on a scheduler lets the others run meanwhile."},
    {"wait_fd", FAST(wait_fd), METH_VARARGS | METH_KEYWORDS,
     "wait_fd($module, /, fd, events, timeout=None)\n--\n\n"
     "Waits until one of the events (select.POLLIN, POLLOUT ..., added up) is there at the file or descriptor, and returns those that\n"
     "are, POLLERR and POLLHUP too; 0 after timeout seconds (None: no limit).  A thread that is on a scheduler lets the others run\n"
     "meanwhile.  What poll(2) can't wait for, as files on a disk, is ready at once.  OSError: it is closed, or there is no memory."},
    POSITIONAL(
        "wait_fds", wait_fds,
        "(events by descriptor, timeout): waits as poll(2) until one of several is ready, and returns the events of those that are; nothing\n"
        "after timeout seconds.  The caller has found none ready.  POLLNVAL: it was closed meanwhile."),
    {"fd_closing", fd_closing, METH_O, "Called before a descriptor is closed: green threads that wait for it get EBADF."},
    {"fd_closed", fd_closed, METH_O, "Called after that: threads that came to wait in between get EBADF too."},
    {"may_block", may_block, METH_NOARGS,
     "Called before a call that may block: whether the calling thread is on a scheduler.  A loop around calls that are ready at once\n"
     "would starve the other threads, so they go first if this one has kept its LWP for a millisecond since its first call here."},
    {"may_poll", may_poll, METH_NOARGS,
     "may_block() before a wait for several files.  If the calling thread has its LWP to itself, green threads that could go on go first:\n"
     "otherwise each event would wake it, and it would look at all its files for one that is ready."},
    {"green_counts", count_greens, METH_NOARGS, "(started, switches, sleeps, hand_overs): see struct green_counts."},
    {"green_runners", green_runners, METH_NOARGS,
     "Of each scheduler that an LWP runs: (ident, tid, switches, waiting, sliced), see struct green_runner."},
    {"run_all", run_all, METH_NOARGS,
     "Runs all schedulers that no thread runs yet, until all threads that are not daemons have ended."},
    {"set_describe_deadlock", set_describe_deadlock, METH_O, NULL},
    {0},
};

static int add_scheduler(PyObject *Py_UNUSED(module))
{
    green_reports_deadlock = 1;
    green_parallel = WITHOUT_GIL;
    scheduler_spawn_carrier = spawn_carrier;
    return 0;
}

const struct entries entries_scheduler = {
    .spec = &scheduler_spec,
    .type = &scheduler_type,
    .add = add_scheduler,
    .functions = functions,
};
