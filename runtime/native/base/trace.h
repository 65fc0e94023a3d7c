/* What threads run and wait for, recorded into a file that outlives the process: a reader of events, of those where a thread is about to
 * sleep, has slept, wakes another, begins or ends.
 *
 * The file is mapped shared: whatever ends the process, what was recorded is in it.  It has a fixed size:
 *
 *   | struct trace_file | texts | chunk | chunk | ...
 *
 * Each thread writes into a chunk of its own, without a lock and without the GIL, and takes another when that is full: a free
 * one, or else the one that was filled longest ago.  So the file keeps the latest records of all threads together; what was
 * overwritten is counted.
 *
 *   FREE -> OPEN    a thread writes into it      OPEN -> FULL    full, or its thread has ended
 *   FULL -> OPEN    taken again; what it held is dropped
 *
 * runtime/observe/trace.py reads it, also when the process was killed, and knows this layout: change both. */
#ifndef RUNTIME_TRACE_H
#define RUNTIME_TRACE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_MAGIC "lwptrace"
enum { TRACE_VERSION = 3, TRACE_HEADER = 4096, TRACE_TEXTS = 512 * 1024, TRACE_CHUNK = 512 };

enum trace_kind {
    /* What the thread does from here on. */
    TRACE_BORN = 1, /* a: thread pointer */
    TRACE_WANTS_GIL, /* a: if it slept: 0 woken, else ETIMEDOUT, EINTR, or EAGAIN: it will go on */
    TRACE_RUNS, /* has the GIL */
    TRACE_BLOCKED, /* a: address of the lock or queue, b: ticket in the queue | where that was made << 32, what, site */
    TRACE_JOINS, /* a: thread pointer of the one waited for, site */
    TRACE_AWAITS, /* a: thread pointer of the one that it has started and that is to begin, site */
    TRACE_LEAVES, /* gives up the GIL for good */
    TRACE_ENDS, /* a: thread pointer */
    /* What it does to others. */
    TRACE_STARTS, /* a: thread pointer of the thread that is about to be cloned */
    TRACE_GRANTS, /* a: queue, b: the sleepers with a ticket below may go on */
    TRACE_RELEASES, /* a: lock: one of its sleepers is about to be woken */
    /* What inspect/sampler.c has seen. */
    TRACE_COUNTS, /* a: bytes resident, b: LWPs alive */
    TRACE_SEEN, /* a: track of a thread that is at TRACE_RUNS, b: ns between two rounds, site: the system call it is in */
    /* Added to what comes after TRACE_RUNS: the kernel has not seen the thread sleep since, so that it waited for nothing, neither
     * in a system call nor for the GIL. */
    TRACE_AWAKE = 0x8000,
};

struct trace_record {
    int64_t ns; /* monotonic clock */
    uint16_t kind, what; /* kind: an enum trace_kind, perhaps with TRACE_AWAKE */
    uint32_t site;
    uint64_t a, b;
};

enum { TRACE_ROOM = TRACE_CHUNK / sizeof(struct trace_record) - 1 };

struct trace_chunk {
    atomic_int state;
    atomic_uint used; /* records that are whole */
    int tid;
    uint32_t track; /* which thread; tids are used again */
    atomic_uint name; /* text */
    uint32_t number; /* how many its thread had before */
    atomic_ullong nth; /* not 0: its thread is "Thread-nth (name)", without a text "Thread-nth" */
    struct trace_record records[TRACE_ROOM];
};

/* Texts are {uint32_t length; char utf8[length]}, numbered by their place in units of 8 bytes; 0: none. */
struct trace_file {
    char magic[8];
    uint32_t version, chunk_size, record_size, texts_size;
    uint64_t chunks;
    int64_t begun_ns, begun_unix_ns; /* the same moment on the monotonic clock and on the wall's */
    int32_t pid, finished; /* finished: the program has ended in order, at ended_ns */
    int64_t ended_ns;
    atomic_uint texts_used, tracks;
    atomic_ullong hand; /* chunks taken so far */
    atomic_ullong overwritten; /* records that were, by later ones */
    atomic_ullong lost; /* records for which no chunk was to be had */
    atomic_ullong texts_lost; /* texts for which there was no room */
    uint32_t arguments; /* text: the program */
};

/* The threads that inspect/sampler.c looks at: as many of those alive as there is room for. */
enum { TRACE_WATCHED = 64 };
extern struct trace_watch {
    atomic_int tid; /* 0: free */
    uint32_t track;
    atomic_llong since; /* the last that it has said is TRACE_RUNS, at this time; else 0 */
} trace_watched[TRACE_WATCHED];

void trace_note(enum trace_kind kind, uint16_t what, uint32_t site, uint64_t a, uint64_t b);

/* The calling thread's name from here on; nth: as in a chunk. */
void trace_name(uint32_t text, uint64_t nth);

/* Adds a text; what is needed once is to be added once.  Any thread.  0: there is no room left. */
uint32_t trace_text(const char *text, size_t length);

/* Makes the file, for `bytes` of chunks, and begins, for the program called with these arguments; 0 or errno.  A forked child
 * records nothing.  Once in a process. */
int trace_begin(const char *path, size_t bytes, const char *arguments, size_t length);
void trace_end(void);

#endif
