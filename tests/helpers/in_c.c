/* C code of others, as an extension module's: it gives up the GIL, and makes its calls then.  Load it with ctypes.PyDLL. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

void *PyEval_SaveThread(void);
void PyEval_RestoreThread(void *state);

enum { BEFORE = 77 };

/* 1000 times the call's result, and its errno. */
#define CALLED(call)                   \
    void *state = PyEval_SaveThread(); \
    errno = BEFORE;                    \
    long result = (call);              \
    PyEval_RestoreThread(state);       \
    return result * 1000 + errno

long no_call(void)
{
    CALLED(0);
}

/* errno is set before the GIL is given up. */
long errno_after_save(void)
{
    errno = BEFORE;
    void *state = PyEval_SaveThread();
    int found = errno;
    PyEval_RestoreThread(state);
    return found;
}

long sleep_briefly(void)
{
    CALLED(usleep(2000));
}

long poll_files(struct pollfd *files, unsigned long count, int timeout)
{
    CALLED(poll(files, count, timeout));
}

long sleep_for(const struct timespec *time, struct timespec *left)
{
    CALLED(nanosleep(time, left));
}

/* As _posixsubprocess does round its vfork(2), and with poll(2) too. */
int sleep_with_signals_blocked(int polls)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    void *state = PyEval_SaveThread();
    polls ? poll(NULL, 0, 1) : usleep(200);
    PyEval_RestoreThread(state);
    sigset_t now;
    sigprocmask(SIG_SETMASK, &before, &now);
    return sigismember(&now, SIGTERM);
}

/* A lock of this library, kept across a sleep. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void sleep_with_mutex(int rounds, int polls)
{
    void *state = PyEval_SaveThread();
    while (rounds--) {
        pthread_mutex_lock(&mutex);
        if (polls)
            poll(NULL, 0, 1);
        else
            nanosleep(&(struct timespec){0, 300000}, NULL);
        pthread_mutex_unlock(&mutex);
    }
    PyEval_RestoreThread(state);
}
