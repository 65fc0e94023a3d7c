/* What is known of glibc, and copies of other threads' memory, as tuples for runtime/tlsmap/ and `lwp doctor`. */
#include "python/rooms.h"

#include "arch/arch.h"
#include "context/context.h"
#include "glibc/glibc.h"
#include "inspect/inspect.h"

#include <errno.h>

/* Takes `one`, which may be NULL with an exception.  The list, or NULL. */
static PyObject *list_with(PyObject *list, PyObject *one)
{
    if (list && (!one || PyList_Append(list, one) < 0))
        Py_CLEAR(list);
    Py_XDECREF(one);
    return list;
}

static PyObject *list_facts(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    (void)module;
    (void)unused;
    for (int i = 0; i < glibc.fact_count; i++) {
        const struct glibc_fact *fact = &glibc.facts[i];
        list = list_with(list,
                         Py_BuildValue("(slnis)", fact->name, fact->value, (Py_ssize_t)fact->size, (int)fact->source, fact->check));
    }
    return list;
}

static PyObject *list_kept(void)
{
    PyObject *list = PyList_New(0);

    for (int i = 0; i < glibc.libc_kept_count; i++)
        list = list_with(list, PyLong_FromSsize_t(glibc.libc_kept[i]));
    return list;
}

static PyObject *describe_glibc(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return Py_BuildValue("{ss sn sn sn sn sn sn sn sn sN}", "version", glibc.version, "pthread_size", (Py_ssize_t)glibc.pthread_size,
                         "static_align", (Py_ssize_t)glibc.static_align, "libc_module", (Py_ssize_t)glibc.libc_module, "libc_block",
                         (Py_ssize_t)glibc.libc_block, "libc_block_size", (Py_ssize_t)glibc.libc_block_size, "rseq",
                         (Py_ssize_t)glibc.rseq, "rseq_size", (Py_ssize_t)glibc.rseq_size, "resp", (Py_ssize_t)glibc.resp, "libc_kept",
                         list_kept());
}

static PyObject *thread_pointer(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromVoidPtr(arch_thread_pointer());
}

static PyObject *list_tcb_fields(PyObject *module, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    (void)module;
    (void)unused;
    for (int i = 0; i < arch_tcb_field_count; i++) {
        const struct arch_tcb_field *field = &arch_tcb_fields[i];
        PyObject *in_pthread = field->in_pthread ? Py_True : Py_False;
        list = list_with(
            list, Py_BuildValue("(snnOs)", field->name, (Py_ssize_t)field->offset, (Py_ssize_t)field->size, in_pthread, field->users));
    }
    return list;
}

static PyObject *list_places(PyObject *module, PyObject *unused)
{
    struct inspect_places places;

    (void)module;
    (void)unused;
    inspect_places(&places);
    return Py_BuildValue("(nnnn)", places.block_low, places.block_high, places.pthread, places.errno_at);
}

/* ---- modules ----------------------------------------------------------------------------------------------------- */

struct modules {
    struct inspect_module *found;
    char *images;
    size_t count;
};

static void free_modules(struct modules *modules)
{
    PyMem_RawFree(modules->found);
    PyMem_RawFree(modules->images);
}

/* All of them: libraries may come meanwhile.  -1: no memory. */
static int find_modules(struct modules *modules)
{
    for (size_t capacity = 64, room = 1 << 14;;) {
        size_t bytes = room;
        modules->found = PyMem_RawMalloc(capacity * sizeof *modules->found);
        modules->images = PyMem_RawMalloc(room);
        if (!modules->found || !modules->images) {
            free_modules(modules);
            return -1;
        }
        modules->count = inspect_modules(modules->found, capacity, modules->images, &bytes);
        if (modules->count <= capacity && bytes <= room)
            return 0;
        free_modules(modules);
        capacity = modules->count + 16;
        room = 2 * bytes + 1;
    }
}

static PyObject *list_modules(PyObject *module, PyObject *unused)
{
    struct modules modules;
    int error;

    (void)module;
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    error = find_modules(&modules);
    Py_END_ALLOW_THREADS
    if (error)
        return PyErr_NoMemory();
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < modules.count; i++) {
        const struct inspect_module *one = &modules.found[i];
        PyObject *image = PyBytes_FromStringAndSize(modules.images + one->image, (Py_ssize_t)one->image_size);
        list = list_with(list, Py_BuildValue("(nynnnNn)", (Py_ssize_t)one->id, one->name, (Py_ssize_t)one->offset,
                                             (Py_ssize_t)one->size, (Py_ssize_t)one->align, image, (Py_ssize_t)one->generation));
    }
    free_modules(&modules);
    return list;
}

/* ---- one thread -------------------------------------------------------------------------------------------------- */

struct copy {
    struct inspect_thread thread;
    char *block;
    union glibc_dtv *dtv;
    struct inspect_block *blocks; /* `into` is a bytes object's memory */
    size_t count;
};

/* With a DTV as long as the thread's: it may get a longer one meanwhile.  0 or errno. */
static int copy_thread(uintptr_t ident, struct copy *copy)
{
    for (size_t capacity = 256;;) {
        if (!(copy->dtv = PyMem_RawMalloc(capacity * sizeof *copy->dtv)))
            return ENOMEM;
        int error = inspect_copy(ident, &copy->thread, copy->block, copy->dtv, capacity, copy->blocks, copy->count);
        if (error != EOVERFLOW)
            return error;
        PyMem_RawFree(copy->dtv);
        copy->dtv = NULL;
        capacity = copy->thread.dtv_length + 16;
    }
}

static PyObject *list_dtv(const struct copy *copy)
{
    PyObject *list = PyList_New(0);

    for (size_t i = 1; i <= copy->dtv[0].counter; i++)
        list = list_with(list, Py_BuildValue("(NN)", PyLong_FromVoidPtr(copy->dtv[i + 1].block.value),
                                             PyLong_FromVoidPtr(copy->dtv[i + 1].block.to_free)));
    return list;
}

static PyObject *list_blocks(const struct copy *copy, PyObject *contents)
{
    PyObject *dict = PyDict_New();

    for (size_t i = 0; dict && i < copy->count; i++) {
        PyObject *id = copy->blocks[i].copied ? PyLong_FromSize_t(copy->blocks[i].id) : NULL;
        if (copy->blocks[i].copied && (!id || PyDict_SetItem(dict, id, PyList_GET_ITEM(contents, i)) < 0))
            Py_CLEAR(dict);
        Py_XDECREF(id);
    }
    return dict;
}

static PyObject *describe_copy(const struct copy *copy, PyObject *memory, PyObject *contents)
{
    const struct inspect_thread *thread = &copy->thread;

    return Py_BuildValue("{sk sk sn sk sk sk sn si sO sO sn sN sN}", "tp", (unsigned long)thread->tp, "dtv", (unsigned long)thread->dtv,
                         "dtv_length", (Py_ssize_t)thread->dtv_length, "guard_low", (unsigned long)thread->guard_low, "stack_low",
                         (unsigned long)thread->stack_low, "stack_high", (unsigned long)thread->stack_high, "stack_used",
                         (Py_ssize_t)thread->stack_used, "tid", thread->tid, "ours", thread->ours ? Py_True : Py_False, "memory",
                         memory, "generation", (Py_ssize_t)copy->dtv[1].counter, "entries", list_dtv(copy), "blocks",
                         list_blocks(copy, contents));
}

/* Where the copies of the blocks go: a list of bytes objects.  NULL with an exception. */
static PyObject *make_room(struct copy *copy, PyObject *wanted)
{
    PyObject *contents = PyList_New(0);

    copy->count = (size_t)PyList_GET_SIZE(wanted);
    copy->blocks = PyMem_RawCalloc(copy->count + 1, sizeof *copy->blocks);
    if (!copy->blocks)
        PyErr_NoMemory();
    for (size_t i = 0; contents && copy->blocks && i < copy->count; i++) {
        Py_ssize_t id, size;
        PyObject *content
            = PyArg_ParseTuple(PyList_GET_ITEM(wanted, i), "nn", &id, &size) ? PyBytes_FromStringAndSize(NULL, size) : NULL;
        if (content)
            copy->blocks[i] = (struct inspect_block){.id = (size_t)id, .size = (size_t)size, .into = PyBytes_AS_STRING(content)};
        contents = list_with(contents, content);
    }
    if (!copy->blocks)
        Py_CLEAR(contents);
    return contents;
}

static PyObject *inspect_thread(PyObject *module, PyObject *args)
{
    struct inspect_places places;
    struct copy copy = {0};
    PyObject *wanted, *result = NULL;
    unsigned long ident;
    int error;

    (void)module;
    if (!PyArg_ParseTuple(args, "kO!", &ident, &PyList_Type, &wanted))
        return NULL;
    inspect_places(&places);
    PyObject *contents = make_room(&copy, wanted);
    PyObject *memory = contents ? PyBytes_FromStringAndSize(NULL, places.block_high - places.block_low) : NULL;
    if (memory) {
        copy.block = PyBytes_AS_STRING(memory);
        Py_BEGIN_ALLOW_THREADS
        error = copy_thread(ident, &copy);
        Py_END_ALLOW_THREADS
        result = error ? PyLong_FromLong(error) : describe_copy(&copy, memory, contents);
    }
    PyMem_RawFree(copy.dtv);
    PyMem_RawFree(copy.blocks);
    Py_XDECREF(memory);
    Py_XDECREF(contents);
    return result;
}

static PyObject *measure_stack(PyObject *module, PyObject *args)
{
    unsigned long low, high;
    size_t used;

    (void)module;
    if (!PyArg_ParseTuple(args, "kk", &low, &high))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    used = inspect_stack_used(low, high);
    Py_END_ALLOW_THREADS
    return PyLong_FromSize_t(used);
}

/* ---- for the tests ----------------------------------------------------------------------------------------------- */

static PyObject *make_block(PyObject *module, PyObject *stack_size)
{
    size_t size = PyLong_AsSize_t(stack_size);

    (void)module;
    if (size == (size_t)-1 && PyErr_Occurred())
        return NULL;
    struct context *context = context_get(size);
    if (!context)
        return PyErr_SetFromErrno(PyExc_OSError);
    if ((errno = context_blank(context)) != 0 || (errno = context_load_tls(context)) != 0) {
        context_put(context, 0);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("(NN)", PyLong_FromVoidPtr(context), PyLong_FromVoidPtr(context->tp));
}

static PyObject *discard_block(PyObject *module, PyObject *made)
{
    struct context *context = PyLong_AsVoidPtr(made);

    (void)module;
    if (!context)
        return NULL;
    context_put(context, 0);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"glibc_facts", list_facts, METH_NOARGS, "What was calibrated: (name, value, size, source, check)."},
    {"glibc_layout", describe_glibc, METH_NOARGS, "Some of struct glibc, by the names of its fields."},
    {"thread_pointer", thread_pointer, METH_NOARGS,
     "thread_pointer($module, /)\n--\n\n"
     "What the calling thread's thread pointer register holds; on x86-64 its ident too."},
    {"tcb_fields", list_tcb_fields, METH_NOARGS, "(name, offset, size, whether it counts from struct pthread, users)."},
    {"tls_places", list_places, METH_NOARGS, "Offsets: the block's begin and end, struct pthread, errno."},
    {"tls_modules", list_modules, METH_NOARGS, "(id, name, offset or 0, size, align, image, generation)."},
    {"inspect_thread", inspect_thread, METH_VARARGS,
     "(ident, [(module id, size)]): struct inspect_thread and the copies; or an errno."},
    {"stack_used", measure_stack, METH_VARARGS, "(low, high): bytes of that stack that were written."},
    {"tls_block_make", make_block, METH_O, "For the tests: a TLS block as a thread would find it, and its thread pointer."},
    {"tls_block_discard", discard_block, METH_O, NULL},
    {0},
};

int python_add_layout(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
