#define Py_BUILD_CORE
#include <Python.h>

#include "python/compat.h"

#include COMPAT_FRAME_HEADER
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include "python/threads/gil_state.h"

const unsigned long *gil_switch_interval(void)
{
    return &COMPAT_GIL()->interval;
}

void gil_place(uintptr_t place[2])
{
    struct _gil_runtime_state *gil = COMPAT_GIL();

    place[0] = (uintptr_t)gil;
    place[1] = (uintptr_t)(gil + 1);
}

/* Two of the fields are structs with an atomic value up to 3.12, and plain since. */
static int is_held(const struct _gil_runtime_state *gil)
{
    int locked; /* -1: nobody has had it yet */

    memcpy(&locked, (const void *)&gil->locked, sizeof locked);
    return locked == 1;
}

struct gil_holder gil_holder(const void *at)
{
    const struct _gil_runtime_state *gil = at;
    PyThreadState *last;
    int held = is_held(gil);

    memcpy(&last, (const void *)&gil->last_holder, sizeof last);
    return (struct gil_holder){held, gil->switch_number, held && last ? last->thread_id : 0};
}

/* A thread that gives up the GIL frees it, and then its mutex (Python/ceval_gil.c, drop_gil): a thread that came in between would sleep for the
 * mutex. */
int gil_is_free(void *at)
{
    struct _gil_runtime_state *gil = at;

    if (is_held(gil) || pthread_mutex_trylock(&gil->mutex) != 0)
        return 0;
    int held = is_held(gil);
    pthread_mutex_unlock(&gil->mutex);
    return !held;
}

static char *append_text(char *at, const char *end, PyObject *text)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);

    for (Py_ssize_t i = 0; i < length && at < end; i++) {
        Py_UCS4 letter = PyUnicode_READ_CHAR(text, i);
        *at++ = (char)(letter < 128 ? letter : '?');
    }
    return at;
}

void gil_my_line(char *text, size_t size)
{
    PyThreadState *tstate = PyGILState_GetThisThreadState();
    _PyInterpreterFrame *frame = tstate ? COMPAT_FRAME(tstate) : NULL;

    *text = 0;
    while (frame && _PyFrame_IsIncomplete(frame))
        frame = frame->previous;
    if (!frame)
        return;
    PyCodeObject *code = COMPAT_FRAME_CODE(frame);
    char *end = text + size - 1, *at = append_text(text, end, code->co_filename);
    int length = snprintf(at, (size_t)(end - at + 1), ":%d in ", PyCode_Addr2Line(code, _PyInterpreterFrame_LASTI(frame) * 2));
    at = length < end - at ? at + length : end;
    *append_text(at, end, code->co_qualname) = 0;
}
