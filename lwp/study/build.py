"""What structures.py gives: lwp/native/build.py has it compiled."""

from __future__ import annotations

STRUCTURES = """
union glibc_dtv { size_t counter; struct { void *value, *to_free; } block; };
struct inspect_module {
    size_t id, generation, image_size, size, align, image;
    ptrdiff_t offset;
    char name[1024];
};
size_t inspect_modules(struct inspect_module *out, size_t capacity, char *images, size_t *bytes);
struct inspect_places { ptrdiff_t block_low, block_high, pthread, errno_at; };
void inspect_places(struct inspect_places *out);
struct inspect_block { size_t id, size; char *into; int copied; };
struct inspect_thread {
    uintptr_t tp, dtv;
    size_t dtv_length;
    uintptr_t guard_low, stack_low, stack_high;
    size_t stack_used;
    int tid, ours;
};
int inspect_copy(uintptr_t ident, struct inspect_thread *out, char *block, union glibc_dtv *dtv, size_t capacity,
                 struct inspect_block *blocks, size_t count);
size_t inspect_stack_used(uintptr_t low, uintptr_t high);

int64_t cost_once(int kind);

int *tlsdemo_variable(void);
int *tlsdemo_errno(void);
int tlsdemo_fail(int how);
"""

#: Before the C that cffi writes.
INCLUDES = """
#include "reading/inspect.h"
#include "study/cost.h"
#include "study/tlsdemo.h"
"""

MODULE = ("_study", STRUCTURES, INCLUDES)
