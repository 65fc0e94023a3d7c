/* The calls by which C code of others gives the GIL up and takes it back, and some by which it waits in between: a green thread's lead past
 * its scheduler. */
#include "green/foreign.h"

#include "green/replace.h"
#include "kernel/base/park.h"
#include "python/green/scheduler.h"
#include "python/room.h"
#include "python/threads/gil_crowd.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MILLISECOND (PARK_SECOND / 1000)

static PyThreadState *(*save_thread)(void);
static void (*restore_thread)(PyThreadState *tstate);

static PyThreadState *leave_python(void)
{
    PyThreadState *tstate = save_thread();

    if (park_green)
        foreign_enter(__builtin_return_address(0));
    return tstate;
}

static void return_to_python(PyThreadState *tstate)
{
    int asks = park_green && foreign_leave();

    if (asks)
        gil_crowd_ask_at_once(1);
    restore_thread(tstate);
    if (asks)
        gil_crowd_ask_at_once(0);
}

/* ---- its waits --------------------------------------------------------------------------------------------------- */

static int (*libc_poll)(struct pollfd *files, nfds_t count, int timeout);
static int (*libc_nanosleep)(const struct timespec *time, struct timespec *left);

/* A callback of Python that such code has called has the GIL again. */
static int may_leave_lwp(void)
{
    return foreign_is_in_c() && !compat_has_gil();
}

/* A wait that was not ended by its deadline, because the thread is cancelled or there is no memory, goes on in the kernel. */
static int64_t rest_until(int64_t deadline)
{
    int64_t now = park_now();

    return now < deadline ? deadline - now : 0;
}

/* After the first call the kernel has read and written the files, so that they can be read and written here: as many as fit its unsigned int
 * (fs/select.c). */
static int poll_or_leave_lwp(struct pollfd *files, nfds_t count, int timeout)
{
    int leaves = timeout != 0 && may_leave_lwp(), ready = libc_poll(files, count, leaves ? 0 : timeout);

    if (!leaves || ready)
        return ready;
    int64_t deadline = timeout < 0 ? PARK_FOREVER : park_now() + timeout * MILLISECOND;
    int result = foreign_wait(files, (int)(unsigned)count, deadline);
    if (result && result != ETIMEDOUT)
        return libc_poll(files, count, timeout < 0 ? -1 : (int)((rest_until(deadline) + MILLISECOND - 1) / MILLISECOND));
    for (unsigned i = 0; i < (unsigned)count; i++)
        ready += files[i].revents != 0;
    return ready;
}

/* Whether a time lies there that nanosleep(2) takes.  If not, a read here could be a SIGSEGV, where the kernel's answer is EFAULT.  futex(2)
 * reads and checks the time as nanosleep(2) does, and then doesn't sleep, because the word differs (kernel/futex/syscalls.c). */
static int is_time(const struct timespec *time)
{
    int word = 1, saved = errno, is = time && syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, time, NULL, 0) < 0 && errno == EAGAIN;

    errno = saved;
    return is;
}

static int nanosleep_or_leave_lwp(const struct timespec *time, struct timespec *left)
{
    enum { YEARS = 1 << 30 }; /* s */

    if (!may_leave_lwp() || !is_time(time) || time->tv_sec >= YEARS)
        return libc_nanosleep(time, left);
    int64_t deadline = park_now() + time->tv_sec * PARK_SECOND + time->tv_nsec;
    if (foreign_wait(NULL, 0, deadline) == ETIMEDOUT)
        return 0;
    int64_t rest = rest_until(deadline);
    return libc_nanosleep(&(struct timespec){rest / PARK_SECOND, rest % PARK_SECOND}, left);
}

static void watch_foreign(void)
{
    static int done;

    if (done)
        return;
    done = 1;
    (void)gil_crowd_begins(); /* if it can't, a thread that comes back asks after the switch interval */
    Py_BEGIN_ALLOW_THREADS /* who has the linker's locks may want the GIL */
    /* If either can't be replaced, a thread that blocks there keeps its LWP for a time slice.  A way back without the way out does nothing. */
    if (replace_everywhere((void *)PyEval_RestoreThread, "PyEval_RestoreThread", return_to_python, &restore_thread) == 0
        && replace_everywhere((void *)PyEval_SaveThread, "PyEval_SaveThread", leave_python, &save_thread) == 0) {
        (void)replace_everywhere((void *)poll, "poll", poll_or_leave_lwp, &libc_poll);
        (void)replace_everywhere((void *)nanosleep, "nanosleep", nanosleep_or_leave_lwp, &libc_nanosleep);
    }
    Py_END_ALLOW_THREADS
}

/* ---- which have blocked ------------------------------------------------------------------------------------------ */

static PyObject *name_of_place(const struct foreign_seen *place)
{
    const char *slash = strrchr(place->library, '/'), *library = slash ? slash + 1 : place->library;
    char text[300];

    snprintf(text, sizeof text, "%s%s%.*s", place->function, *place->function ? " of " : "", (int)strcspn(library, "."), library);
    return PyUnicode_DecodeFSDefault(*text ? text : "C code of no library");
}

static void add_place(const struct foreign_seen *place, long times, int64_t ns, void *list)
{
    PyObject *one = Py_BuildValue("(Nld)", name_of_place(place), times, (double)ns / PARK_SECOND);

    if (one && !PyErr_Occurred())
        PyList_Append(list, one);
    Py_XDECREF(one);
}

static PyObject *blocked_in_c(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    PyObject *list = PyList_New(0);

    if (list)
        foreign_blocked(add_place, list);
    if (PyErr_Occurred())
        Py_CLEAR(list);
    return list;
}

static PyMethodDef functions[] = {
    {"blocked_in_c", blocked_in_c, METH_NOARGS,
     "[(\"FUNCTION of LIBRARY\", or the library alone, how often, seconds)]: where C code of others has blocked."},
    {0},
};

static int add_foreign(PyObject *Py_UNUSED(module))
{
    static const struct foreign_room room = {.watch = watch_foreign, .since = foreign_since, .name = name_of_place};

    foreign_room = &room;
    return 0;
}

const struct entries entries_foreign = {.add = add_foreign, .functions = functions};
