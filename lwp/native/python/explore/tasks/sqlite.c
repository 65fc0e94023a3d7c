/* SQLite's waits, in explored threads.
 *
 * SQLite waits in C, in two ways: it sleeps and tries again when another connection has locked the database (xSleep of its sqlite3_vfs,
 * which the handler of sqlite3_busy_timeout() calls), and it locks the mutex of a connection that threads share.  All explored threads are on
 * one LWP.  If SQLite blocked it, the thread that has the lock could not go on, and the wait would be in vain.  So both lead here.
 *
 * The mutex must not be left out: a thread that sleeps in SQLite has its connection's mutex, and another thread that wants it would
 * block the LWP for good.  An explored thread has a TCB with a number of its own, by which pthread_mutex_lock() tells that it is not the
 * owner (green/shared_lwp.h). */
#include "explore/explore.h"
#include "green/replace.h"
#include "python/green/scheduler.h"
#include "python/room.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

enum { NS_IN_US = 1000, PAUSE = 100 * NS_IN_US }; /* PAUSE: on the run's clock, between two looks at a mutex */

/* The head of sqlite3.h's struct, which says that it keeps its layout. */
struct vfs {
    int version, file_size, longest_path;
    struct vfs *next;
    const char *name;
    void *data, *open, *delete, *access, *full_pathname, *dl_open, *dl_error, *dl_sym, *dl_close, *randomness;
    int (*sleep)(struct vfs *vfs, int us);
};

static int (*stock_sleep)(struct vfs *vfs, int us);

static void sleep_in_turn(int64_t ns)
{
    int64_t until = park_now() + ns;

    python_sleep_until(&until);
}

static int vfs_sleep(struct vfs *vfs, int us)
{
    if (!explore_me())
        return stock_sleep(vfs, us);
    sleep_in_turn((int64_t)us * NS_IN_US);
    return us;
}

static int lock_mutex(pthread_mutex_t *mutex)
{
    int error;

    if (!explore_me())
        return pthread_mutex_lock(mutex);
    if ((error = pthread_mutex_trylock(mutex)) != EBUSY)
        return error;
    void *held = explore_let_others_run(); /* the GIL, with which sqlite3_errmsg() is called, and which the mutex's owner needs */
    do
        sleep_in_turn(PAUSE);
    while ((error = pthread_mutex_trylock(mutex)) == EBUSY);
    if (held)
        explore_go_on(held);
    return error;
}

/* The library that the extension module calls; if that has SQLite within itself, the module. */
static struct vfs *vfs_found(const char *file)
{
    void *module = dlopen(file, RTLD_LAZY | RTLD_NOLOAD);
    struct vfs *(*find)(const char *name) = module ? (struct vfs * (*)(const char *)) dlsym(module, "sqlite3_vfs_find") : NULL;
    struct vfs *vfs = find ? find(NULL) : NULL;
    const struct libc_slot slot = vfs ? libc_slot_of((void *)find, "pthread_mutex_lock") : (struct libc_slot){NULL, 0};

    if (module)
        dlclose(module); /* RTLD_NOLOAD counts a use too */
    return libc_fill_slot(&slot, lock_mutex) == 0 ? vfs : NULL;
}

/* (the extension module _sqlite3): the SQLite that it calls lets other explored threads go on while it waits.  This stays for good; in all other
 * threads SQLite waits as before.  A SQLite whose call of pthread_mutex_lock() has no slot (green/replace.h) stays as it is. */
static PyObject *lead_sqlite(PyObject *module, PyObject *sqlite)
{
    static int has_looked;

    if (has_looked)
        Py_RETURN_NONE;
    PyObject *file = PyModule_GetFilenameObject(sqlite);
    const char *path = file ? PyUnicode_AsUTF8(file) : NULL;
    struct vfs *first = path ? vfs_found(path) : NULL;
    PyErr_Clear(); /* it has no file: it is linked into the interpreter */
    Py_XDECREF(file);
    has_looked = 1;
    stock_sleep = first ? first->sleep : NULL;
    for (struct vfs *vfs = first; vfs; vfs = vfs->next)
        if (vfs->sleep == stock_sleep)
            __atomic_store_n(&vfs->sleep, vfs_sleep, __ATOMIC_RELEASE);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {{"explore_sqlite", lead_sqlite, METH_O, NULL}, {0}};

const struct entries entries_explore_sqlite = {.functions = functions};
