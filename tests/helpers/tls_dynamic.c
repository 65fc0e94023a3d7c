/* TLS that __tls_get_addr allocates at a thread's first use. */
#include <errno.h>
#include <stdlib.h>

#define MODEL __attribute__((tls_model("global-dynamic")))

static MODEL __thread int value __attribute__((aligned(64))) = 7;
static MODEL __thread char zeros[3000];

int get(void)
{
    int sum = value;
    for (unsigned i = 0; i < sizeof zeros; i++)
        sum += zeros[i];
    return sum;
}

void set(int to)
{
    value = to;
    for (unsigned i = 0; i < sizeof zeros; i++)
        zeros[i] = (char)to;
}

void *address(void)
{
    return &value;
}

/* errno, malloc and strtol of whatever C library this was linked to at run time: another one in a dlmopen namespace. */
int libc_works(void)
{
    char *block = malloc(1000);
    errno = 0;
    strtol("99999999999999999999999999", NULL, 10);
    free(block);
    return block && errno == ERANGE;
}
