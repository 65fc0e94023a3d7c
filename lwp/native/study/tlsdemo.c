#include "study/tlsdemo.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* In the general model, so that `demo tls` shows a call of __tls_get_addr(module, offset), which finds the block in the thread's DTV.
 * The other files are compiled with -ftls-model=initial-exec: see build.py. */
static __thread int variable __attribute__((tls_model("global-dynamic"))) = TLSDEMO_FIRST;

int *tlsdemo_variable(void)
{
    return &variable;
}

int *tlsdemo_errno(void)
{
    return &errno;
}

int tlsdemo_fail(int how)
{
    int done;

    switch (how % 3) {
    case 0:
        /* cppcheck-suppress invalidFunctionArg ; it must fail, with EBADF */
        done = close(-1);
        break;
    case 1:
        done = dup3(0, 0, 0); /* EINVAL: dup3(2) refuses equal descriptors */
        break;
    default:
        done = access("", F_OK); /* ENOENT: the empty path */
    }
    return done < 0 ? *tlsdemo_errno() : 0;
}
