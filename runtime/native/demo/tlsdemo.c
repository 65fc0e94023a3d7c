#include "demo/tlsdemo.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* No tls_model attribute: this module is loaded by dlopen, and the general model, the compiler's choice for that, shows what
 * an extension module's variable gets. */
static __thread int variable = TLSDEMO_FIRST;

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
        /* cppcheck-suppress invalidFunctionArg ; EBADF is what is wanted */
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
