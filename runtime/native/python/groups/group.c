/* The end of a group's block: no exception leaves it before the group's threads have ended.
 *
 * A signal handler may raise wherever the interpreter looks for signals, also at the first bytecode of an __exit__() in Python, before
 * any `try`.  So this __exit__() is in C.  It calls _finish(body, raised) in Python, which does the work; `body` is what the block has
 * raised, and `raised` is what is raised now, the same at first.  If an exception leaves that call before the group is over, the call
 * is made again. */
#include "python/args.h"
#include "python/room.h"

typedef struct {
    PyObject_HEAD
    char over;
} GroupObject;

static PyObject *group_exit(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "__exit__() takes 3 arguments");
    PyObject *raised = Py_NewRef(args[1]), *result;
    while (!(result = PyObject_CallMethodObjArgs(op, NAME("_finish"), args[1], raised, NULL)) && !((GroupObject *)op)->over)
        Py_SETREF(raised, PyErr_GetRaisedException());
    Py_DECREF(raised);
    return result;
}

static PyMethodDef group_methods[] = {
    POSITIONAL("__exit__", group_exit, NULL),
    {0},
};

static PyMemberDef group_members[] = {
    {"_over", T_BOOL, offsetof(GroupObject, over), 0, NULL},
    {0},
};

TYPE_SPEC(group, "runtime.native.GroupBase", GroupObject, Py_TPFLAGS_BASETYPE, {Py_tp_methods, group_methods},
          {Py_tp_members, group_members});

const struct entries entries_group = {.spec = &group_spec};
