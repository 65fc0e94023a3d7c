/* A record of what happened, step by step, for those who want to see a thread being made.  Off, a step costs one load. */
#ifndef RUNTIME_STEPS_H
#define RUNTIME_STEPS_H

#include <stdatomic.h>
#include <stdint.h>

enum step_kind {
    STEP_MAP,        /* a: lowest address, b: bytes */
    STEP_GUARD,      /* a: lowest address, b: bytes */
    STEP_REUSE,      /* a: thread pointer: a block from the cache instead of the two above */
    STEP_TLS,        /* a: lowest address of the TLS block, b: modules with a static block */
    STEP_TCB,        /* a: thread pointer, b: struct pthread's size */
    STEP_LIST,       /* a: struct pthread linked, b: head of _dl_stack_user */
    STEP_MASK,       /* a: 1 all signals blocked, 0 restored */
    STEP_CLONE,      /* a: flags | exit signal, b: top of the child's stack */
    STEP_CLONED,     /* a: tid as clone returned it */
    STEP_BORN,       /* child. a: stack pointer, b: thread pointer */
    STEP_GLIBC,      /* child. a: __resp's address, b: ctype tables set */
    STEP_ROBUST,     /* child. a: list head */
    STEP_RSEQ,       /* child. a: area, b: 1 registered, 0 not */
    STEP_UNMASK,     /* child. a: the signal mask it starts with */
    STEP_PYTHON,     /* child. a: PyThreadState */
    STEP_TARGET,     /* child. a: the callable */
    STEP_RETURNED,   /* child. a: 1 when it raised */
    STEP_DESTRUCTORS,/* child. C++ thread_local and pthread key destructors have run */
    STEP_UNLIST,     /* child. a: struct pthread unlinked */
    STEP_EXIT,       /* child. a: status given to exit(2) */
    STEP_JOIN,       /* a: address of the word waited on, b: its value */
    STEP_CLEARED,    /* a: address of the word, b: its value: 0, written by the kernel */
    STEP_RECYCLED,   /* a: thread pointer of the block put back into the cache */
};

struct step {
    int64_t ns; /* monotonic clock */
    int tid;
    int kind;
    uint64_t a, b;
};

extern atomic_int steps_recording;

void steps_note(enum step_kind kind, uint64_t a, uint64_t b);

#define STEP(kind, a, b)                                                                       \
    do {                                                                                       \
        if (__builtin_expect(atomic_load_explicit(&steps_recording, memory_order_relaxed), 0)) \
            steps_note(kind, (uint64_t)(a), (uint64_t)(b));                                    \
    } while (0)

/* Starts a new record, or ends it. */
void steps_record(int on);

/* Copies what was recorded since into `out`; returns how many there are (later ones than the record holds are dropped). */
int steps_read(struct step *out, int room);

#endif
