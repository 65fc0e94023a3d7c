/* arch_swap() by itself, without glibc's private parts: what a function preserves is kept, and a new context begins as it should. */
#include "kernel/arch/arch.h"

#include <assert.h>
#include <fenv.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONTEXTS = 3, TURNS = 1000 };

static struct context {
    void *sp;
    char stack[64 * 1024] __attribute__((aligned(64)));
} contexts[CONTEXTS];
static void *main_sp;
static int ended, order[CONTEXTS * TURNS], count;

static void go(void **from, int to)
{
    arch_swap(from, to < CONTEXTS ? contexts[to].sp : main_sp, arch_thread_pointer());
}

/* Keeps many values alive across the swap: in registers as far as there are any. */
static double through(int me, double seed)
{
    double a = seed + 1, b = seed + 2, c = seed + 3, d = seed + 4, e = seed + 5, f = seed + 6, g = seed + 7, h = seed + 8;
    long i = me + 1, j = me + 2, k = me + 3, l = me + 4, m = me + 5, n = me + 6, o = me + 7;

    for (int turn = 0; turn < TURNS; turn++) {
        order[count++] = me;
        go(&contexts[me].sp, (me + 1) % CONTEXTS);
        a += 1, b += 1, c += 1, d += 1, e += 1, f += 1, g += 1, h += 1;
        i++, j++, k++, l++, m++, n++, o++;
        assert(fegetround() == (me == 1 ? FE_UPWARD : me == 2 ? FE_DOWNWARD : FE_TONEAREST));
    }
    assert(i + j + k + l + m + n + o == 7L * (me + TURNS) + 28);
    return a + b + c + d + e + f + g + h;
}

static void entry(void *arg)
{
    int me = (int)(intptr_t)arg;

    assert((uintptr_t)__builtin_frame_address(0) % 16 == 0);
    fesetround(me == 1 ? FE_UPWARD : me == 2 ? FE_DOWNWARD : FE_TONEAREST);
    assert(through(me, me) == 8 * me + 36 + 8 * TURNS);
    ended++;
    go(&contexts[me].sp, me + 1); /* the last one's is main */
    abort();
}

int main(void)
{
    const char *why = arch_swap_check();

    if (why) {
        printf("refused: %s\n", why);
        return 0;
    }
    for (int i = 0; i < CONTEXTS; i++)
        contexts[i].sp = arch_swap_begin(contexts[i].stack + sizeof contexts[i].stack, entry, (void *)(intptr_t)i);
    go(&main_sp, 0);
    assert(ended == CONTEXTS && count == CONTEXTS * TURNS);
    for (int i = 0; i < count; i++)
        assert(order[i] == i % CONTEXTS);
    assert(fegetround() == FE_TONEAREST);
    puts("right");
    return 0;
}
