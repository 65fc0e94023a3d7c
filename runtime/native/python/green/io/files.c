/* Whether reading a file on a disk would wait for the disk. */
#include "python/green/io/files.h"

#include "python/room.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_as_long(int fd, off_t offset, Py_ssize_t length)
{
    struct stat found;

    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_size - offset >= length;
}

/* Reads only the first byte of the range, and doesn't move the file's offset, because the call itself must be made whole: if a part
 * were read here and the rest by a helper, another reader could come in between.  The kernel's read-ahead begins at this byte, also
 * where it says EAGAIN. */
enum first_byte files_first_byte(int fd, off_t offset, Py_ssize_t length)
{
    char byte;

    if (length >= FILES_LARGE && is_as_long(fd, offset, FILES_LARGE))
        return FIRST_BYTE_WAITS;
    if (preadv2(fd, &(struct iovec){&byte, 1}, 1, offset, RWF_NOWAIT) >= 0)
        return FIRST_BYTE_READY;
    /* EINVAL: the file is open with O_DIRECT, so that each call goes to the disk and no single byte can be read.  EOPNOTSUPP: its file
     * system can't say, such as tmpfs, which has no disk, and NFS. */
    return errno == EAGAIN || errno == EINVAL ? FIRST_BYTE_WAITS : FIRST_BYTE_UNKNOWN;
}

static PyObject *read_waits(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "read_waits(fd, length, offset)");
    int fd = (int)PyLong_AsLong(args[0]);
    Py_ssize_t length = PyLong_AsSsize_t(args[1]);
    off_t offset = PyLong_AsLongLong(args[2]);
    if (PyErr_Occurred()) { /* the call itself raises, in its own name */
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    return PyBool_FromLong(offset >= 0 && files_first_byte(fd, offset, length) == FIRST_BYTE_WAITS);
}

static PyMethodDef functions[] = {
    POSITIONAL("read_waits", read_waits,
               "(fd, length, offset): whether a read there would wait for a disk, or copy long; doesn't wait itself."),
    {0},
};

static int add_files(PyObject *module)
{
    return PyModule_AddIntConstant(module, "FILES_LARGE", FILES_LARGE);
}

const struct entries entries_files = {.add = add_files, .functions = functions};
