/* Points between bytecodes. */
#include "python/explore/code.h"

#include "python/explore/point.h"

int code_add(PyObject *module)
{
    return 0;
}
