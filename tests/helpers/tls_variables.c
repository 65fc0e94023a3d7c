/* Variables whose places and bytes the tests know: static TLS, initialised and not, exported and not. */
#include <stdint.h>

#define MODEL __attribute__((tls_model("initial-exec")))

MODEL __thread uint32_t exported_number = 7;
static MODEL __thread char hidden_text[12] = "first";
static MODEL __thread uint64_t hidden_zero __attribute__((aligned(32)));

/* Where the calling thread's are. */
void addresses(uintptr_t out[3])
{
    out[0] = (uintptr_t)&exported_number;
    out[1] = (uintptr_t)hidden_text;
    out[2] = (uintptr_t)&hidden_zero;
}

void change(uint32_t to)
{
    exported_number = to;
    hidden_text[0] = 'F';
    hidden_zero = (uint64_t)to << 32;
}
