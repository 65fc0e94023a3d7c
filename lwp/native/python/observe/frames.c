#define Py_BUILD_CORE
#include <Python.h>

#include <internal/pycore_frame.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include "reading/inspect.h"
#include "python/compat.h"
#include "python/observe/frames.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_THREADS = 100000, MOST_FRAMES = 200, LONGEST_TEXT = 1000, LONGEST_TABLE = 100000 };

/* Where the interpreter has what.  From 3.13 on it says so itself, for debuggers: _Py_DebugOffsets. */
static struct places {
    size_t threads, next, ident, tid, frame;                     /* of an interpreter; of a thread state */
    size_t previous, code, instruction, owner;                   /* of a frame */
    size_t file, function, instructions;                         /* of a code object */
} places;
static uintptr_t interpreter, gil;

#if SINCE(13)
#define PLACE(told, type, field) _PyRuntime.debug_offsets.told
#else
#define PLACE(told, type, field) offsetof(type, field)
#endif

static void find_places(void)
{
    places = (struct places){
        PLACE(interpreter_state.threads_head, PyInterpreterState, threads.head),
        PLACE(thread_state.next, PyThreadState, next),
        PLACE(thread_state.thread_id, PyThreadState, thread_id),
        PLACE(thread_state.native_thread_id, PyThreadState, native_thread_id),
        PLACE(thread_state.current_frame, PyThreadState, cframe),
        PLACE(interpreter_frame.previous, _PyInterpreterFrame, previous),
        PLACE(interpreter_frame.executable, _PyInterpreterFrame, f_code),
        PLACE(interpreter_frame.instr_ptr, _PyInterpreterFrame, prev_instr),
        PLACE(interpreter_frame.owner, _PyInterpreterFrame, owner),
        PLACE(code_object.filename, PyCodeObject, co_filename),
        PLACE(code_object.qualname, PyCodeObject, co_qualname),
        PLACE(code_object.co_code_adaptive, PyCodeObject, co_code_adaptive),
    };
}

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
static void write_letters(FILE *out, uintptr_t text)
{
    PyASCIIObject head;
    unsigned char data[4 * LONGEST_TEXT];

    if (!is_of(text, &PyUnicode_Type) || inspect_copy_memory(&head, text, sizeof head) != 0 || !head.state.compact) {
        fputc('?', out);
        return;
    }
    size_t kind = head.state.kind, length = head.length < 0 ? 0 : head.length > LONGEST_TEXT ? LONGEST_TEXT : (size_t)head.length;
    uintptr_t from = text + (head.state.ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject));
    if ((kind != 1 && kind != 2 && kind != 4) || inspect_copy_memory(data, from, kind * length) != 0)
        length = 0;
    for (size_t i = 0; i < length; i++)
        write_character(out, kind == 1 ? data[i] : kind == 2 ? ((uint16_t *)data)[i] : ((uint32_t *)data)[i]);
}

static void write_text(FILE *out, uintptr_t text)
{
    fputc('"', out);
    write_letters(out, text);
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

/* From copies of the code object and its table, because the thread may run meanwhile.  Zeros end the table, whatever is in it. */
static int line_at(uintptr_t at, uintptr_t instruction)
{
    enum { HEAD = offsetof(PyBytesObject, ob_sval), ZEROS = 64 };
    PyCodeObject code;
    PyBytesObject head, *table = NULL;

    if (inspect_copy_memory(&code, at, sizeof code) != 0)
        return 0;
    uintptr_t from = (uintptr_t)code.co_linetable, offset = instruction - (at + places.instructions);
    int line = code.co_firstlineno;
    if (is_of(from, &PyBytes_Type) && inspect_copy_memory(&head, from, HEAD) == 0 && (size_t)Py_SIZE(&head) <= LONGEST_TABLE
        && offset < (size_t)Py_SIZE(&code) * sizeof(_Py_CODEUNIT))
        table = calloc(1, HEAD + (size_t)Py_SIZE(&head) + ZEROS);
    if (table && inspect_copy_memory(table, from, HEAD + (size_t)Py_SIZE(&head)) == 0) {
        code.co_linetable = (PyObject *)table;
        code.COMPAT_LINES_AT_HAND = NULL;
        int found = PyCode_Addr2Line(&code, (int)offset);
        line = found > 0 ? found : line;
    }
    free(table);
    return line;
}

static void write_frame(FILE *out, uintptr_t code, uintptr_t instruction)
{
    fputc('[', out);
    write_text(out, word_at(code + places.file));
    fprintf(out, ",%d,", line_at(code, instruction));
    write_text(out, word_at(code + places.function));
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

/* The frame's code object; 0: it has none of a program. */
static uintptr_t code_of(uintptr_t frame)
{
    uintptr_t code = word_at(frame + places.code) & ~(uintptr_t)7; /* from 3.14 on the lowest bits say how it is counted */

    return is_interpreters_own(frame) || !is_of(code, &PyCode_Type) ? 0 : code;
}

static void write_frames(FILE *out, uintptr_t thread)
{
    const char *between = "";

    fputc('[', out);
    for (uintptr_t at = innermost_frame(thread), i = 0; at && i < MOST_FRAMES; at = word_at(at + places.previous), i++) {
        uintptr_t code = code_of(at);
        if (!code)
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

void frames_write_innermost(FILE *out, unsigned long ident)
{
    uintptr_t thread = word_at(interpreter + places.threads), code = 0;

    for (size_t i = 0; thread && i < MOST_THREADS && word_at(thread + places.ident) != ident; i++)
        thread = word_at(thread + places.next);
    uintptr_t at = innermost_frame(thread);
    for (int i = 0; at && i < MOST_FRAMES && !(code = code_of(at)); i++)
        at = word_at(at + places.previous);
    if (!code)
        return;
    fputs(", at ", out);
    write_letters(out, word_at(code + places.file));
    fprintf(out, ":%d in ", line_at(code, word_at(at + places.instruction)));
    write_letters(out, word_at(code + places.function));
}

unsigned long frames_gil_holder(unsigned long *switches)
{
    struct _gil_runtime_state copy;

    if (!gil || inspect_copy_memory(&copy, gil, sizeof copy) != 0)
        return 0;
    uintptr_t holder;
    memcpy(&holder, &copy.last_holder, sizeof holder); /* an atomic pointer to 3.12 */
    *switches = copy.switch_number;
    return (unsigned long)(holder ? word_at(holder + places.ident) : 0);
}
