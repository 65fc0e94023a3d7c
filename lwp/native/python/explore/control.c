/* Runs a test under a plan: what lwp/explore/ calls. */
#include "explore/explore.h"

#include "kernel/lwp/lwp.h"
#include "python/args.h"
#include "python/threads/boot.h"
#include "python/explore/parts.h"
#include "python/explore/point.h"
#include "python/threads/lwp.h"
#include "python/sync/lock.h"
#include "python/room.h"
#include "python/green/scheduler.h"
#include "python/threads/thread.h"
#include "green/thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static PyObject *main_thread; /* thread 0 passes for it */
static PyObject *error;       /* what failed, and in which thread */
static int error_thread;
static int64_t begun; /* every run's clock starts there, unless ran_children() */
static long faults_of_children;
static _Atomic int64_t run_until; /* the plan's */

/* ---- in explored threads ----------------------------------------------------------------------------------------- */

static void note_error(PyObject *value)
{
    struct explored *me = explore_me();

    if (explore_is_unwinding() || PyObject_IsInstance(value, point_unwound))
        return;
    if (!error) {
        error = Py_NewRef(value);
        error_thread = me ? me->index : 0;
    }
    explore_fail(EXPLORE_FAILED);
}

/* (exception): has the run fail. */
static PyObject *report_error(PyObject *module, PyObject *value)
{
    note_error(value);
    Py_RETURN_NONE;
}

/* Whether it is a SystemExit that says that all is well. */
static int is_normal_exit(PyObject *raised)
{
    PyObject *code = PyErr_GivenExceptionMatches(raised, PyExc_SystemExit) ? PyObject_GetAttrString(raised, "code") : NULL;
    int normal = code && (code == Py_None || (PyLong_Check(code) && PyLong_AsLong(code) == 0));

    Py_XDECREF(code);
    PyErr_Clear();
    return normal;
}

/* Thread 0. */
static PyObject *run_test(PyObject *module, PyObject *test)
{
    thread_pass_for(main_thread);
    PyObject *result = PyObject_CallNoArgs(test), *raised = result ? NULL : PyErr_GetRaisedException();

    if (raised && !is_normal_exit(raised))
        note_error(raised);
    Py_XDECREF(raised);
    Py_XDECREF(result);
    Py_RETURN_NONE;
}

static PyMethodDef run_test_def = {"run_test", run_test, METH_O, NULL};

/* ---- unwinding --------------------------------------------------------------------------------------------------- */

static int unwinds_thread(int raise)
{
    int unwinds = explore_me() && explore_is_unwinding();

    if (unwinds && raise)
        point_cancel();
    return unwinds;
}

static PyObject *scheduler_of_thread(void)
{
    return explore_me() ? threads_scheduler : NULL;
}

static const struct python_control control = {scheduler_of_thread, unwinds_thread};

/* Threads that have LWPs of their own need the GIL to wake one that is explored. */
static void *let_others_run(void)
{
    return compat_has_gil() ? PyEval_SaveThread() : NULL;
}

static void go_on(void *held)
{
    PyEval_RestoreThread(held);
}

/* The thread waits for a lock whose holder has ended without releasing it. */
static int unstick_thread(struct explored *thread)
{
    struct lwp *lwp = lwp_of_green(thread->green);
    struct wait *wait = (struct wait *)(lwp->ident + (uintptr_t)wait_offset);
    PyObject *object = atomic_load(&wait->object);

    if (object && wait->place && wait->place->lock)
        object = lock_object(wait->place->lock);
    if (!object || !lock_is_ours(object))
        return 0;
    PyGILState_STATE state = PyGILState_Ensure();
    locks_free(object);
    PyGILState_Release(state);
    return 1;
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

static int start_test(PyObject *test)
{
    PyObject *function = PyCFunction_New(&run_test_def, NULL), *args = function ? PyTuple_Pack(1, test) : NULL;
    LwpObject *lwp = args ? lwp_make(lwp_type, boot_stack_size()) : NULL;
    int result = -1;

    if (lwp) {
        lwp->lwp->waited = 1;
        result
            = boot_start_green(lwp->lwp, &(struct boot_target){function, args, NULL, NULL, NULL}, python_scheduler(threads_scheduler));
    }
    Py_XDECREF(lwp);
    Py_XDECREF(args);
    Py_XDECREF(function);
    return result;
}

static void free_locks(void)
{
    PyObject *objects = point_objects(NULL, NULL);

    for (Py_ssize_t i = 0; objects && i < PyList_GET_SIZE(objects); i++)
        locks_free(PyList_GET_ITEM(objects, i));
    Py_XDECREF(objects);
}

static long count_faults_of_children(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_CHILDREN, &usage) == 0 ? usage.ru_minflt : 0; /* of those that have been waited for */
}

/* Whether the test has run a child process, whose clock is the system's. */
static int ran_children(void)
{
    return count_faults_of_children() != faults_of_children || explore_has_children();
}

/* The caller lends its LWP for the run only: outside of runs it sleeps and wakes as any thread with an LWP of its own. */
static int run_under_plan(PyObject *test, const struct explore_plan *plan, PyObject *note)
{
    struct scheduler *s = threads_scheduler ? python_scheduler(threads_scheduler) : NULL;

    if (!s || scheduler_attach(s) != 0) {
        PyErr_SetString(PyExc_RuntimeError, "explore_begin() first, by the same thread");
        return -1;
    }
    int result = -1;
    if (explore_prepare(s, plan, ran_children() ? park_now() : begun) != 0)
        PyErr_NoMemory();
    else if (start_test(test) == 0) {
        point_note = note == Py_None ? NULL : note;
        Py_BEGIN_ALLOW_THREADS
        explore_go();
        Py_END_ALLOW_THREADS
        point_note = NULL;
        result = 0;
    }
    scheduler_detach(s);
    if (result == 0 && (explore_run.outcome != EXPLORE_FINISHED || explore_run.abandoned))
        free_locks();
    return result;
}

/* ---- a series of runs: see Series in lwp/explore/run/plans.py ------------------------------------------------- */

/* A run of two threads at gil takes 11.2 us of processor time, of which 5.6 are the test's own Python and its green threads; with a call
 * for each run it took 17.5.  At opcode a run has 149,000 instructions: 59,000 of the test and its green threads, 33,000 of the points of
 * sync, 26,000 with which CPython runs and calls the 68 monitored instructions, and 31,000 of the points between these.
 *
 * REJECTED.  -O3: 11.9 us, so nothing.  Link-time optimisation: 3 % fewer instructions.  Not to look for child processes before each run:
 * 11.4 us instead of 11.6, and a child's clock would not be seen. */

enum { MOST_RUNS = 100, MOST_DEPTH = 9 };

/* What the runs of one call did: the class Made. */
static struct {
    int runs, threads, tasks, switched, timed, files;
    long steps, longest;
    int64_t slowest; /* ns */
    uint32_t covered[MOST_DEPTH + 1]; /* runs by depth, if no longer than the plan expected */
    uint64_t schedules[MOST_RUNS];
} made;

struct series {
    Py_buffer seeds, depths, odds;
    long number, most, share, run_costs;
    long long until, patience;
    PyObject *between;
};

static int64_t add_up(const struct explore_plan *plan, int64_t began)
{
    int64_t now = park_clock(CLOCK_MONOTONIC);

    made.schedules[made.runs++] = explore_run.schedule;
    made.threads = Py_MAX(made.threads, explore_run.count - explore_run.cancellers);
    made.tasks = Py_MAX(made.tasks, explore_run.tasks);
    made.switched |= explore_run.count - explore_run.tasks - explore_run.cancellers > 1 || explore_run.choices > 0;
    made.timed |= explore_run.timed && explore_run.count > 1;
    made.files |= explore_run.files;
    made.steps += explore_run.step;
    made.longest = Py_MAX(made.longest, explore_run.step);
    made.slowest = Py_MAX(made.slowest, now - began);
    made.covered[plan->depth <= MOST_DEPTH ? plan->depth : 0] += explore_run.step <= Py_MIN(plan->length, plan->limit);
    return now;
}

/* The next run's plan, if the last run has passed.  1; 0: it is the last one. */
static int goes_on(const struct series *series, struct explore_plan *plan, int64_t now)
{
    if (explore_run.outcome != EXPLORE_FINISHED || made.runs >= series->most
        || made.runs * series->run_costs + made.steps >= series->share || now >= series->until)
        return 0;
    long number = series->number + made.runs;
    plan->length = Py_MAX(plan->length, explore_run.step);
    plan->seed = ((const uint64_t *)series->seeds.buf)[made.runs];
    plan->depth = ((const char *)series->depths.buf)[number % series->depths.len];
    plan->odds = ((const char *)series->odds.buf)[number % series->odds.len];
    if (series->patience)
        plan->until = now + series->patience;
    return 1;
}

static int run_series(PyObject *test, struct explore_plan *plan, const struct series *series, PyObject *note)
{
    int64_t now = park_clock(CLOCK_MONOTONIC);

    memset(&made, 0, offsetof(typeof(made), schedules));
    do {
        PyObject *none = made.runs ? PyObject_CallNoArgs(series->between) : Py_NewRef(Py_None);
        Py_XDECREF(none);
        point_forget();
        threads_run_begins();
        atomic_store(&run_until, plan->until);
        if (!none || chance_run_begins() < 0 || run_under_plan(test, plan, note) < 0)
            return -1;
        now = add_up(plan, now);
    } while (goes_on(series, plan, now));
    return 0;
}

/* (test, (strategy, seed, depth, odds, strikes, length, limit, end, patience, circles, after, until), deviations, note, series); patience: in
 * ns; until: on CLOCK_MONOTONIC, in ns, or 0; series: None for one run, or (seeds, depths, odds, number of the first, most runs, steps, what a
 * run costs in steps, until, patience or 0, what to call between two runs) */
static PyObject *explore_run_(PyObject *module, PyObject *args)
{
    PyObject *test, *note, *more;
    Py_buffer deviations;
    struct explore_plan plan = {0};
    struct series series = {.most = 1};
    const char *strategy;
    long long patience, until;

    if (!PyArg_ParseTuple(args, "O(sKiiilllLppL)y*OO:explore_run", &test, &strategy, &plan.seed, &plan.depth, &plan.odds, &plan.strikes,
                          &plan.length, &plan.limit, &plan.end, &patience, &plan.circles, &plan.after, &until, &deviations, &note,
                          &more))
        return NULL;
    plan.patience = patience;
    plan.until = until ? until : PARK_FOREVER;
    plan.deviations = deviations.buf;
    plan.count = (int)(deviations.len / (Py_ssize_t)sizeof *plan.deviations);
    int failed = more != Py_None
                 && !PyArg_ParseTuple(more, "y*y*y*llllLLO:series", &series.seeds, &series.depths, &series.odds, &series.number,
                                      &series.most, &series.share, &series.run_costs, &series.until, &series.patience, &series.between);
    series.most = Py_MIN(series.most, more == Py_None ? 1 : Py_MIN(MOST_RUNS, series.seeds.len / (Py_ssize_t)sizeof(uint64_t)));
    if (!failed && !(plan.strategy = explore_strategy(strategy)))
        PyErr_Format(PyExc_ValueError, "no strategy %s", strategy);
    failed = failed || !plan.strategy || run_series(test, &plan, &series, note) < 0;
    PyBuffer_Release(&deviations);
    PyBuffer_Release(&series.seeds);
    PyBuffer_Release(&series.depths);
    PyBuffer_Release(&series.odds);
    if (failed)
        return NULL;
    PyObject *found = error ? error : Py_NewRef(Py_None);
    error = NULL;
    PyObject *covered = PyBytes_FromStringAndSize((char *)made.covered, sizeof made.covered);
    PyObject *schedules = PyBytes_FromStringAndSize((char *)made.schedules, made.runs * (Py_ssize_t)sizeof *made.schedules);
    return Py_BuildValue("((iNilKKliiiilii)(iiiiiillLNN))", (int)explore_run.outcome, found, error_thread, explore_run.step,
                         explore_run.schedule, explore_run.hash, explore_run.missed, explore_run.count, explore_run.in_circle,
                         explore_run.hurried, explore_run.tasks, explore_run.choices, explore_run.cancellers,
                         (int)explore_run.cancelled, made.runs, made.threads, made.tasks, made.switched, made.timed, made.files,
                         made.steps, made.longest, (long long)made.slowest, covered, schedules);
}

static PyObject *list_steps(PyObject *module, PyObject *unused)
{
    long count = explore_run.step < explore_run.capacity ? explore_run.step : explore_run.capacity;

    return PyBytes_FromStringAndSize((char *)explore_run.steps, count * (Py_ssize_t)sizeof *explore_run.steps);
}

/* (memory, whether the process is to end with its parent): see explore_write_to(). */
static PyObject *take_in_hand(PyObject *module, PyObject *args)
{
    static Py_buffer held;
    PyObject *memory;
    int with_parent;

    if (!PyArg_ParseTuple(args, "Op:explore_hand", &memory, &with_parent))
        return NULL;
    explore_write_to(NULL, 0);
    PyBuffer_Release(&held);
    held = (Py_buffer){0};
    if (memory != Py_None && PyObject_GetBuffer(memory, &held, PyBUF_WRITABLE) < 0)
        return NULL;
    explore_write_to(held.buf, (size_t)held.len);
    if (with_parent)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    Py_RETURN_NONE;
}

static PyObject *list_final(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    for (int i = 0; i < explore_run.count; i++)
        append_to(&list, Py_BuildValue("(iiIi)", explore_run.final[i].state, explore_run.final[i].kind, explore_run.final[i].object,
                                       explore_run.final[i].may));
    return list;
}

/* What the threads do now, as explore_final(), and how many steps were taken. */
static PyObject *look_now(PyObject *module, PyObject *unused)
{
    explore_look();
    PyObject *list = list_final(module, NULL);
    return list ? Py_BuildValue("(Nl)", list, explore_run.step) : NULL;
}

/* (on): whether operations are no points of the run, because they are a debugger's.  Returns whether that was so before. */
static PyObject *silence_points(PyObject *module, PyObject *on)
{
    int before = point_telling;

    point_telling = PyObject_IsTrue(on);
    return PyBool_FromLong(before);
}

/* The calling thread's number in the run; -1: it is not explored. */
static PyObject *index_(PyObject *module, PyObject *unused)
{
    struct explored *me = explore_me();
    return PyLong_FromLong(me ? me->index : -1);
}

/* ---- a thread that comes to no point ------------------------------------------------------------------------------ */

enum { LOOK_EVERY = 50000000, MOMENT = 100000000 }; /* ns */
static atomic_int watching;                 /* a futex word: 1 while explore_watch() may sleep */
static atomic_int escapes;                  /* the signal is explore_escape()'s */
static int escape_signal, exploring_lwp;
static struct sigaction escape_before;

/* Called without the GIL.  The ident of a thread that came to no point for that long, or for a moment when the run's time is up; or 0. */
static unsigned long watch_progress(int64_t patience, int signals, long *progress, const char **end, int *runs)
{
    const clockid_t computing = ~exploring_lwp << 3 | 6; /* its CPU clock, as pthread_getcpuclockid(3) makes it */
    struct explored *seen = NULL;
    int64_t since = 0, half = 0, computed = 0;
    long before = 0;
    char number;

    while (atomic_load(&watching)) {
        struct explored *thread = explore_running(progress);
        int64_t now = park_now();
        if (signals >= 0 && read(signals, &number, 1) == 1 && number == SIGINT) {
            atomic_store(&run_until, now);
            explore_stop();
        }
        if (!thread || thread != seen || *progress != before)
            since = now;
        else if (now - since >= patience || (now >= atomic_load(&run_until) && now - since >= MOMENT)) {
            *runs = thread->state == EXPLORED_RUNNING;
            int computes = *runs && park_clock(computing) - computed > (now - half) / 40; /* a share beside eighty others */
            *end = computes ? "spins" : !*runs && thread->op.kind == EXPLORE_FILE ? "file" : "blocked";
            return lwp_of_green(thread->green)->ident;
        }
        if (now - since <= patience / 2) { /* it may compute first, and then be blocked */
            half = now;
            computed = park_clock(computing);
        }
        seen = thread;
        before = *progress;
        futex_wait(&watching, 1, now + LOOK_EVERY, PARK_PRIVATE);
    }
    return 0;
}

/* (seconds, descriptor): the ident of a thread that came to no point for that long, a number that is the same as long as it comes to none,
 * which of ENDS tells what it does, and whether it runs: otherwise it waits with all the others, for a file or an LWP.  None when nobody
 * watches any more.  The numbers of signals are read from the descriptor, and SIGINT ends the run; -1: there is none. */
static PyObject *watch_run(PyObject *module, PyObject *args)
{
    double seconds;
    int signals, runs = 0;
    unsigned long ident;
    long progress = 0;
    const char *end = NULL;

    if (!PyArg_ParseTuple(args, "di:explore_watch", &seconds, &signals))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    ident = watch_progress((int64_t)(seconds * PARK_SECOND), signals, &progress, &end, &runs);
    Py_END_ALLOW_THREADS
    return ident ? Py_BuildValue("(klsN)", ident, progress, end, PyBool_FromLong(runs)) : Py_NewRef(Py_None);
}

/* (on): before and after explore_watch() is called, by the thread that explores. */
static PyObject *set_watching(PyObject *module, PyObject *on_)
{
    atomic_store(&watching, PyObject_IsTrue(on_));
    futex_wake(&watching, 1, PARK_PRIVATE);
    Py_RETURN_NONE;
}

/* (ident): the run is over; that thread is unwound as soon as it runs Python code.  0: all wait, and are unwound by that. */
static PyObject *interrupt_thread(PyObject *module, PyObject *ident)
{
    explore_fail(park_now() >= atomic_load(&run_until) ? EXPLORE_OUT_OF_TIME : EXPLORE_STUCK);
    PyThreadState_SetAsyncExc(PyLong_AsUnsignedLong(ident), point_unwound);
    Py_RETURN_NONE;
}

/* Runs on the stack of the thread that doesn't come back: see explore_escape().  If that thread has the GIL the others can't go on, so
 * it is left alone. */
static void escape_handler(int number)
{
    sigset_t only;

    if (!atomic_exchange(&escapes, 0) || compat_has_gil())
        return;
    sigemptyset(&only);
    sigaddset(&only, number);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL); /* a return would unblock it, but this handler doesn't return */
    explore_escape();
}

/* The running thread is abandoned where it is. */
static PyObject *escape_thread(PyObject *module, PyObject *unused)
{
    atomic_store(&escapes, 1);
    syscall(SYS_tgkill, getpid(), exploring_lwp, escape_signal);
    Py_RETURN_NONE;
}

static void handle_escapes(void)
{
    struct sigaction action = {.sa_handler = escape_handler};

    escape_signal = SIGRTMAX - 1;
    exploring_lwp = (int)syscall(SYS_gettid);
    sigaction(escape_signal, &action, &escape_before);
}

/* ---- begin and end ----------------------------------------------------------------------------------------------- */

static const struct part *const parts[] = {&locks_part, &waiters_part, &threads_part, &chance_part};
enum { PARTS = sizeof parts / sizeof *parts };

static void swap_out_all(void)
{
    for (int i = 0; i < PARTS; i++)
        swap_out(parts[i]->tables, parts[i]->count);
    threads_end();
    loops_swap_out();
}

/* -1 with an exception. */
static int swap_in_all(void)
{
    for (int i = 0; i < PARTS; i++)
        if (swap_in(parts[i]->tables, parts[i]->count, 0) < 0) {
            swap_out_all();
            return -1;
        }
    return 0;
}

/* (scheduler, class of what unwinds, main thread, (SimpleQueue, _random.Random) of CPython's, (time, posix), the generator of
 * random) */
static PyObject *begin_exploring(PyObject *module, PyObject *args)
{
    PyObject *scheduler, *unwound, *thread, *queue, *generator, *time, *system, *shared;

    if (!PyArg_ParseTuple(args, "OOO(O!O!)(OO)O:explore_begin", &scheduler, &unwound, &thread, &PyType_Type, &queue, &PyType_Type,
                          &generator, &time, &system, &shared))
        return NULL;
    if (threads_scheduler) {
        PyErr_SetString(PyExc_RuntimeError, "a program is being explored in this process already");
        return NULL;
    }
    struct scheduler *s = python_scheduler(scheduler);
    if (!s)
        return NULL;
    if (park_green) {
        PyErr_SetString(PyExc_RuntimeError, "the calling thread is a green thread, or lends its LWP to a scheduler");
        return NULL;
    }
    waiters_begin((PyTypeObject *)queue);
    chance_begin(system, (PyTypeObject *)generator, shared);
    if (threads_begin(time) < 0 || swap_in_all() < 0)
        return NULL;
    scheduler_set_policy(s, &explore_policy);
    threads_scheduler = Py_NewRef(scheduler);
    Py_XSETREF(point_unwound, Py_NewRef(unwound));
    Py_XSETREF(main_thread, Py_NewRef(thread));
    sync_queue_wakes_all = 1;
    python_control = &control;
    explore_unstick = unstick_thread;
    explore_let_others_run = let_others_run;
    explore_go_on = go_on;
    begun = park_now();
    faults_of_children = count_faults_of_children();
    handle_escapes();
    Py_RETURN_NONE;
}

static PyObject *end_exploring(PyObject *module, PyObject *unused)
{
    if (!threads_scheduler)
        Py_RETURN_NONE;
    swap_out_all();
    sigaction(escape_signal, &escape_before, NULL);
    point_forget();
    sync_queue_wakes_all = 0;
    python_control = NULL;
    Py_CLEAR(threads_scheduler);
    kept_drop();
    Py_RETURN_NONE;
}

static PyObject *is_unwinding(PyObject *module, PyObject *unused)
{
    return PyBool_FromLong(unwinds_thread(0));
}

static PyMethodDef functions[] = {
    {"explore_begin", begin_exploring, METH_VARARGS, NULL},
    {"explore_end", end_exploring, METH_NOARGS, NULL},
    {"explore_run", explore_run_, METH_VARARGS, NULL},
    {"explore_report", report_error, METH_O, NULL},
    {"explore_steps", list_steps, METH_NOARGS, NULL},
    {"explore_objects", point_objects, METH_NOARGS, NULL},
    {"explore_final", list_final, METH_NOARGS, NULL},
    {"explore_look", look_now, METH_NOARGS, NULL},
    {"explore_silence", silence_points, METH_O, NULL},
    {"explore_unwinding", is_unwinding, METH_NOARGS, NULL},
    {"explore_watch", watch_run, METH_VARARGS, NULL},
    {"explore_watching", set_watching, METH_O, NULL},
    {"explore_interrupt", interrupt_thread, METH_O, NULL},
    {"explore_escape", escape_thread, METH_NOARGS, NULL},
    {"explore_index", index_, METH_NOARGS, NULL},
    {"explore_hand", take_in_hand, METH_VARARGS, NULL},
    {0},
};

const struct entries entries_explore = {.functions = functions, .after_fork = explore_after_fork};
