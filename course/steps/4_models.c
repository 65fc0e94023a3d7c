/* Step 4: the four access models.  cc -O2 -fPIC -c 4_models.c && objdump -dr 4_models.o */
extern __thread int variable __attribute__((tls_model("global-dynamic")));
static __thread int own __attribute__((tls_model("local-dynamic")));
extern __thread int early __attribute__((tls_model("initial-exec")));
extern __thread int main_program __attribute__((tls_model("local-exec")));

int *general_dynamic(void)
{
    return &variable;
}

int *local_dynamic(void)
{
    return &own;
}

int *initial_exec(void)
{
    return &early;
}

int *local_exec(void)
{
    return &main_program;
}
