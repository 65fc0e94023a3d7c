#define Py_BUILD_CORE
#include <Python.h>

#include <internal/pycore_frame.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include "observe/inspect.h"
#include "python/compat.h"
#include "python/observe/frames.h"

#include <string.h>

enum { MOST_THREADS = 100000, MOST_FRAMES = 200, LONGEST_TEXT = 1000, LONGEST_TABLE = 100000 };

/* Where the interpreter has what.  From 3.13 on it says so itself, for debuggers: _Py_DebugOffsets. */
static struct places {
    size_t threads, next, ident, tid, frame;                     /* of an interpreter; of a thread state */
    size_t previous, code, instruction, owner;                   /* of a frame */
    size_t file, function, first_line, line_table, instructions; /* of a code object */
} places;
static uintptr_t interpreter, gil;

#if SINCE(13)
static void find_places(void)
{
    const _Py_DebugOffsets *at = &_PyRuntime.debug_offsets;

    places = (struct places){
        at->interpreter_state.threads_head, at->thread_state.next,
        at->thread_state.thread_id,         at->thread_state.native_thread_id,
        at->thread_state.current_frame,     at->interpreter_frame.previous,
        at->interpreter_frame.executable,   at->interpreter_frame.instr_ptr,
        at->interpreter_frame.owner,        at->code_object.filename,
        at->code_object.qualname,           at->code_object.firstlineno,
        at->code_object.linetable,          at->code_object.co_code_adaptive,
    };
}
#else
static void find_places(void)
{
    places = (struct places){
        offsetof(PyInterpreterState, threads.head),
        offsetof(PyThreadState, next),
        offsetof(PyThreadState, thread_id),
        offsetof(PyThreadState, native_thread_id),
        offsetof(PyThreadState, cframe),
        offsetof(_PyInterpreterFrame, previous),
        offsetof(_PyInterpreterFrame, f_code),
        offsetof(_PyInterpreterFrame, prev_instr),
        offsetof(_PyInterpreterFrame, owner),
        offsetof(PyCodeObject, co_filename),
        offsetof(PyCodeObject, co_qualname),
        offsetof(PyCodeObject, co_firstlineno),
        offsetof(PyCodeObject, co_linetable),
        offsetof(PyCodeObject, co_code_adaptive),
    };
}
#endif

void frames_begin(void)
{
    find_places();
    interpreter = (uintptr_t)PyInterpreterState_Main();
    gil = WITHOUT_GIL ? 0 : (uintptr_t)COMPAT_GIL();
}

/* The word at that address, or 0. */
static uintptr_t word_at(uintptr_t address)
{
    uintptr_t word;

    return address && inspect_copy_memory(&word, address, sizeof word) == 0 ? word : 0;
}

static int is_of(uintptr_t object, PyTypeObject *type)
{
    return object && word_at(object + offsetof(PyObject, ob_type)) == (uintptr_t)type;
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static void write_character(FILE *out, unsigned long character)
{
    if (character == '"' || character == '\\')
        fprintf(out, "\\%c", (int)character);
    else if (character >= ' ' && character < 127)
        fputc((int)character, out);
    else if (character < 0x10000)
        fprintf(out, "\\u%04lx", character);
    else
        fprintf(out, "\\u%04lx\\u%04lx", 0xd800 + ((character - 0x10000) >> 10), 0xdc00 + ((character - 0x10000) & 0x3ff));
}

/* A str; "?" if it can't be read. */
static void write_text(FILE *out, uintptr_t text)
{
    PyASCIIObject head;
    unsigned char data[4 * LONGEST_TEXT];

    fputc('"', out);
    if (!is_of(text, &PyUnicode_Type) || inspect_copy_memory(&head, text, sizeof head) != 0 || !head.state.compact) {
        fputs("?\"", out);
        return;
    }
    size_t kind = head.state.kind, length = head.length < 0 ? 0 : head.length > LONGEST_TEXT ? LONGEST_TEXT : (size_t)head.length;
    uintptr_t from = text + (head.state.ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject));
    if ((kind != 1 && kind != 2 && kind != 4) || inspect_copy_memory(data, from, kind * length) != 0)
        length = 0;
    for (size_t i = 0; i < length; i++)
        write_character(out, kind == 1 ? data[i] : kind == 2 ? ((uint16_t *)data)[i] : ((uint32_t *)data)[i]);
    fputc('"', out);
}

/* A bytes object, in hexadecimal. */
static void write_bytes(FILE *out, uintptr_t bytes)
{
    PyBytesObject head;
    unsigned char data[512];

    fputc('"', out);
    if (is_of(bytes, &PyBytes_Type) && inspect_copy_memory(&head, bytes, offsetof(PyBytesObject, ob_sval)) == 0
        && (size_t)Py_SIZE(&head) <= LONGEST_TABLE)
        for (size_t at = 0, size = (size_t)Py_SIZE(&head), some; at < size; at += some) {
            some = size - at < sizeof data ? size - at : sizeof data;
            if (inspect_copy_memory(data, bytes + offsetof(PyBytesObject, ob_sval) + at, some) != 0)
                break;
            for (size_t i = 0; i < some; i++)
                fprintf(out, "%02x", data[i]);
        }
    fputc('"', out);
}

void frames_write_type(FILE *out, uintptr_t object)
{
    char name[64] = "?";
    uintptr_t type = word_at(object + offsetof(PyObject, ob_type)), text = type ? word_at(type + offsetof(PyTypeObject, tp_name)) : 0;

    /* As much as is mapped: the name may stand at the end of a page. */
    for (size_t at = 0; text && at < sizeof name - 1; at++)
        if (inspect_copy_memory(name + at, text + at, 1) != 0 || !name[at])
            break;
    name[sizeof name - 1] = 0;
    fputc('"', out);
    for (const unsigned char *at = (const unsigned char *)name; *at; at++)
        write_character(out, *at);
    fputc('"', out);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

static void write_frame(FILE *out, uintptr_t code, uintptr_t instruction)
{
    int first_line = 0;

    fputc('[', out);
    write_text(out, word_at(code + places.file));
    fputc(',', out);
    write_text(out, word_at(code + places.function));
    inspect_copy_memory(&first_line, code + places.first_line, sizeof first_line);
    fprintf(out, ",%d,%ld,", first_line, (long)(instruction - (code + places.instructions)));
    write_bytes(out, word_at(code + places.line_table));
    fputc(']', out);
}

static uintptr_t innermost_frame(uintptr_t thread)
{
    uintptr_t frame = word_at(thread + places.frame);

#if !SINCE(13)
    frame = word_at(frame + offsetof(_PyCFrame, current_frame));
#endif
    return frame;
}

/* Between calls from C stands a frame without a line of a program: FRAME_OWNED_BY_CSTACK, and from 3.14 on FRAME_OWNED_BY_INTERPRETER. */
static int is_interpreters_own(uintptr_t frame)
{
    unsigned char owner;

    return inspect_copy_memory(&owner, frame + places.owner, 1) != 0 || owner >= 3;
}

static void write_frames(FILE *out, uintptr_t thread)
{
    const char *between = "";

    fputc('[', out);
    for (uintptr_t at = innermost_frame(thread), i = 0; at && i < MOST_FRAMES; at = word_at(at + places.previous), i++) {
        uintptr_t code = word_at(at + places.code) & ~(uintptr_t)7; /* from 3.14 on the lowest bits say how it is counted */
        if (is_interpreters_own(at) || !is_of(code, &PyCode_Type))
            continue;
        fputs(between, out);
        write_frame(out, code, word_at(at + places.instruction));
        between = ",";
    }
    fputc(']', out);
}

void frames_write(FILE *out)
{
    uintptr_t thread = word_at(interpreter + places.threads);

    fputc('[', out);
    for (size_t i = 0; thread && i < MOST_THREADS; thread = word_at(thread + places.next), i++) {
        fprintf(out, "%s[%lu,%lu,", i ? "," : "", (unsigned long)word_at(thread + places.ident),
                (unsigned long)word_at(thread + places.tid));
        write_frames(out, thread);
        fputc(']', out);
    }
    fputc(']', out);
}

unsigned long frames_gil_holder(void)
{
    struct _gil_runtime_state copy;

    if (!gil || inspect_copy_memory(&copy, gil, sizeof copy) != 0)
        return 0;
    uintptr_t holder;
    memcpy(&holder, &copy.last_holder, sizeof holder); /* an atomic pointer to 3.12 */
    return (unsigned long)(holder ? word_at(holder + places.tid) : 0);
}
