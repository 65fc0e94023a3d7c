/* TLS at a fixed distance from the thread pointer: dlopen must initialise it in every living thread. */
#define MODEL __attribute__((tls_model("initial-exec")))

static MODEL __thread int value = 42;
static MODEL __thread int untouched;

int get(void)
{
    return value + untouched;
}

void set(int to)
{
    value = to;
    untouched = to;
}
