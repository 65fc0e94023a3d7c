/* The calls by which C code of others gives the GIL up and takes it back: a green thread's lead past its scheduler. */
#include "green/foreign.h"

#include "green/replace.h"
#include "kernel/base/park.h"
#include "python/green/foreign.h"
#include "python/python.h"

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
    if (park_green)
        foreign_leave();
    restore_thread(tstate);
}

void python_watch_foreign(void)
{
    static int done;

    if (done)
        return;
    done = 1;
    Py_BEGIN_ALLOW_THREADS /* who has the linker's locks may want the GIL */
    /* If either can't be replaced, a thread that blocks there keeps its LWP for a time slice.  A way back without the way out does nothing. */
    if (replace_everywhere((void *)PyEval_RestoreThread, "PyEval_RestoreThread", return_to_python, &restore_thread) == 0)
        (void)replace_everywhere((void *)PyEval_SaveThread, "PyEval_SaveThread", leave_python, &save_thread);
    Py_END_ALLOW_THREADS
}
