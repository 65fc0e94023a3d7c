/* PyThreadStates as programs that embed Python use them: any thread may run with one, another may delete it.  No Python.h: these
 * few functions are the same in all versions, and the process has them. */
#include <pthread.h>

struct state;
struct state *PyThreadState_New(void *interpreter);
void PyThreadState_Clear(struct state *state);
void PyThreadState_Delete(struct state *state);
void PyEval_RestoreThread(struct state *state);
struct state *PyEval_SaveThread(void);
void *PyInterpreterState_Main(void);
int PyRun_SimpleString(const char *code);

static struct {
    const char *code;
    int rounds, failed;
    struct state *state;
    pthread_barrier_t used, deleted;
} run;

static void run_code(void)
{
    PyEval_RestoreThread(run.state);
    run.failed += PyRun_SimpleString(run.code) != 0;
    PyEval_SaveThread();
}

static void *use_one(void *unused)
{
    run_code();
    return unused;
}

static void *use_each(void *unused)
{
    for (int i = 0; i < run.rounds; i++) {
        run.state = PyThreadState_New(PyInterpreterState_Main());
        run_code();
        pthread_barrier_wait(&run.used);
        pthread_barrier_wait(&run.deleted);
    }
    return unused;
}

static void *delete_each(void *unused)
{
    struct state *own = PyThreadState_New(PyInterpreterState_Main());

    for (int i = 0; i < run.rounds; i++) {
        pthread_barrier_wait(&run.used);
        PyEval_RestoreThread(own);
        PyThreadState_Clear(run.state);
        PyThreadState_Delete(run.state);
        PyEval_SaveThread();
        pthread_barrier_wait(&run.deleted);
    }
    PyEval_RestoreThread(own);
    PyThreadState_Clear(own);
    PyEval_SaveThread();
    PyThreadState_Delete(own);
    return unused;
}

/* The code runs with one state in so many threads, one after the other.  How often it failed. */
int run_in_threads(const char *code, int threads)
{
    pthread_t thread;

    run.code = code;
    run.failed = 0;
    run.state = PyThreadState_New(PyInterpreterState_Main());
    for (int i = 0; i < threads && pthread_create(&thread, 0, use_one, 0) == 0; i++)
        pthread_join(thread, 0);
    return run.failed;
}

/* The code runs in one thread with so many states, one after the other, each of which another thread deletes. */
int run_with_states(const char *code, int states)
{
    pthread_t user, deleter;

    run.code = code;
    run.rounds = states;
    run.failed = 0;
    pthread_barrier_init(&run.used, 0, 2);
    pthread_barrier_init(&run.deleted, 0, 2);
    if (pthread_create(&user, 0, use_each, 0) != 0 || pthread_create(&deleter, 0, delete_each, 0) != 0)
        return -1;
    pthread_join(user, 0);
    pthread_join(deleter, 0);
    return run.failed;
}
