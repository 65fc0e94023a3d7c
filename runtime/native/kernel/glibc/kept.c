/* The words of libc's TLS block that a recycled context keeps: malloc's, and the ctype tables. */
#include "kernel/glibc/finding.h"

#include "kernel/arch/arch.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    WORD = sizeof(void *),
    MOST_WORDS = sizeof((struct malloc_words *)0)->at / sizeof *((struct malloc_words *)0)->at,
    ARENA = 2 * 64 << 20 /* what malloc maps for one that is to be aligned (malloc/arena.c, new_heap) */
};

/* malloc's two words of a thread, tcache and arena, are those of libc's block that the first call changes. */
void glibc_find_malloc_words(struct malloc_words *words)
{
    char *block = (char *)arch_thread_pointer() + glibc.libc_block;
    int saved = errno;

    memcpy(words->before, block, glibc.libc_block_size);
    void *volatile some = malloc(100); /* volatile, or the compiler leaves it out */
    errno = saved;
    if (!some) {
        words->count = -1;
        return;
    }
    free(some);
    for (size_t at = 0; at + WORD <= glibc.libc_block_size; at += WORD)
        if (memcmp(words->before + at, block + at, WORD) != 0) {
            if (words->count < MOST_WORDS)
                words->at[words->count] = glibc.libc_block + (ptrdiff_t)at;
            words->count++;
        }
}

/* Where memory is short, a thread's malloc goes without a tcache or without an arena, and leaves the word as it is. */
static int refuse_words(int own, int other)
{
    void *arena = mmap(NULL, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (arena == MAP_FAILED)
        return glibc_failed("mmap of an arena for malloc", errno);
    munmap(arena, ARENA); /* cppcheck-suppress nullPointerOutOfMemory ; a failed mmap(2) is MAP_FAILED, and not NULL */
    return glibc_refuse("libc's TLS block: malloc changes %d words of it in one thread, %d in another, or others", own, other);
}

int glibc_find_kept_words(const struct malloc_words *own, const struct malloc_words *other)
{
    char *tp = arch_thread_pointer();
    const ptrdiff_t tables[] = {(char *)__ctype_b_loc() - tp, (char *)__ctype_tolower_loc() - tp, (char *)__ctype_toupper_loc() - tp};
    int count = own->count;

    if (count < 0 || other->count < 0)
        return glibc_failed("malloc", ENOMEM);
    if (count > MOST_WORDS || other->count != count || memcmp(own->at, other->at, (size_t)count * sizeof *own->at) != 0)
        return refuse_words(count, other->count);
    glibc.libc_kept_count = 0;
    for (int i = 0; i < count; i++)
        glibc.libc_kept[glibc.libc_kept_count++] = own->at[i];
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (tables[i] < glibc.libc_block || tables[i] >= glibc.libc_block + (ptrdiff_t)glibc.libc_block_size)
            return glibc_refuse("libc's TLS block: a ctype table is at tp%+td, outside", tables[i]);
        glibc.libc_kept[glibc.libc_kept_count++] = tables[i];
    }
    return 0;
}
