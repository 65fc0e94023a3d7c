/* What threads run and wait for, recorded into a file that outlives the process.  A reader of the events where a thread is about to
 * sleep, has slept, wakes another, begins or ends.
 *
 * A recording can end and another begin at any time, in the same file; the file shows the latest.  A process has one file.
 *
 * The file is mapped shared, so its records survive whatever ends the process.  It has a fixed size:
 *
 *   | struct trace_file | texts | chunk | chunk | ...
 *
 * Each thread writes into a chunk of its own, without a lock and without the GIL.  When the chunk is full it takes a free chunk, or the
 * chunk that was filled longest ago.  So the file keeps the latest records of all threads together, and counts those that were
 * overwritten.
 *
 *   FREE -> OPEN    a thread writes into it      OPEN -> FULL    full, or its thread has ended
 *   FULL -> OPEN    taken again: its records are dropped
 *   OPEN -> OPEN    the same, of an earlier recording: that chunk's thread ended while nothing was recorded
 *
 * Each recording gives new numbers to the threads, their tracks, from first_track on.  A thread takes its track with its first record.
 * To a thread that exists already the recording gives a track and a chunk, which say what the thread waits for; it goes on there.
 *
 * lwp/observe/records.py reads the file, also after the process was killed, with this layout: change both. */
#ifndef RUNTIME_TRACE_H
#define RUNTIME_TRACE_H

#include "kernel/base/events.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_MAGIC "lwptrace"
enum { TRACE_VERSION = 8, TRACE_HEADER = 4096, TRACE_TEXTS = 512 * 1024, TRACE_CHUNK = 512 };

enum trace_kind {
    /* What the thread does from here on. */
    TRACE_BORN = 1, /* a: thread pointer */
    TRACE_WANTS_GIL, /* a: if it slept: 0 woken; otherwise ETIMEDOUT, EINTR, ECANCELED, or EAGAIN: it will sleep again */
    TRACE_RUNS, /* has the GIL */
    TRACE_BLOCKED, /* a: address of the lock or queue, b: ticket in the queue | where that was made << 32, what, site.  a, b: 0: the
                    * thread sleeps for a time or a file */
    TRACE_JOINS, /* a: thread pointer of the thread that it joins, site */
    TRACE_AWAITS, /* a: thread pointer of the thread that it has started: it waits until that has begun; site */
    TRACE_LEAVES, /* releases the GIL at its end, and doesn't take it again */
    TRACE_ENDS, /* a: thread pointer */
    /* What it does to others. */
    TRACE_STARTS, /* a: thread pointer of the thread that is about to be cloned */
    TRACE_GRANTS, /* a: queue, b: the waiters with a ticket below may go on */
    TRACE_RELEASES, /* a: lock: one of its waiters is about to be woken */
    /* What observe/sampler.c has seen. */
    TRACE_COUNTS, /* a: bytes resident, b: LWPs alive */
    TRACE_SEEN, /* a: track of a thread that is at TRACE_RUNS, b: ns between two rounds, site: the system call it is in */
    TRACE_PLACED, /* site: what the thread was given at its birth */
    /* Of groups. */
    TRACE_CANCELS, /* a: thread pointer of the thread that is cancelled, site: why */
    TRACE_GROUP, /* site: the group that it is in from here on */
    TRACE_CANCELLED, /* site: why the wait before has ended */
    /* a: as TRACE_BLOCKED's, site: what the program calls that, a text; 0: from here on it is another primitive, made at the same
     * address. */
    TRACE_NAMED,
    TRACE_THERE, /* the first record of a thread that existed when the recording began.  TRACE_BLOCKED or TRACE_JOINS may follow */
    TRACE_UNHEARD, /* a, what, site: as TRACE_BLOCKED's, of a condition whose notify() has met no waiter, b: where it was made << 32 */
    /* A flag of the record after TRACE_RUNS: the thread has run for a moment only, or the kernel has not counted a sleep of it in
     * between, so it has waited neither in a system call nor for the GIL. */
    TRACE_AWAKE = 0x8000,
};

struct trace_record {
    int64_t ns; /* monotonic clock */
    uint16_t kind, what; /* kind: an enum trace_kind, with or without TRACE_AWAKE */
    uint32_t site;
    uint64_t a, b;
};

enum { TRACE_RECORDS = TRACE_CHUNK / sizeof(struct trace_record) - 1 };

/* Beside the track in a chunk's state.  TRACE_OPENS: its records and the rest of its head are not the track's yet. */
#define TRACE_FULL (1U << 31)
#define TRACE_OPENS (1U << 30)

struct trace_chunk {
    atomic_uint state; /* FREE: 0.  OPEN: its thread's track, at first with TRACE_OPENS.  FULL: that with TRACE_FULL */
    atomic_uint used; /* records that are complete */
    int tid; /* the kernel uses it again */
    uint32_t number; /* of chunks that its thread had before */
    atomic_uint name; /* text */
    atomic_uint nth; /* not 0: its thread is "Thread-nth (name)", without a text "Thread-nth" */
    uint64_t tp; /* thread pointer, used again too */
    struct trace_record records[TRACE_RECORDS];
};

/* Texts are {uint32_t length; char utf8[length]}, numbered by their place in units of 8 bytes; 0: none. */
struct trace_file {
    char magic[8];
    uint32_t version, chunk_size, record_size, texts_size;
    uint64_t chunks;
    int64_t begun_ns, begun_unix_ns; /* the same moment on CLOCK_MONOTONIC and CLOCK_REALTIME */
    int32_t pid, finished; /* finished: the recording was ended, at ended_ns, before the process */
    int64_t ended_ns;
    atomic_ullong hand; /* chunks taken so far */
    atomic_ullong overwritten; /* records dropped with chunks that were taken again */
    atomic_ullong lost; /* records dropped because no chunk could be taken */
    atomic_ullong texts_lost; /* texts that did not fit */
    uint32_t arguments; /* text: the program */
    uint32_t first_track;
};

/* The threads that observe/sampler.c looks at, at most TRACE_WATCHED at a time. */
enum { TRACE_WATCHED = 64 };
extern struct trace_watch {
    atomic_int tid; /* 0: free */
    uint32_t track;
    atomic_llong since; /* if the thread's last record is TRACE_RUNS: its time; otherwise 0 */
} trace_watched[TRACE_WATCHED];

void trace_note(enum trace_kind kind, uint16_t what, uint32_t site, uint64_t a, uint64_t b);

/* Names the calling thread; nth as in struct trace_chunk. */
void trace_name(uint32_t text, uint32_t nth);

/* Adds a text, for any thread; returns its number, or 0 if the texts are full.  A text is not looked up: the caller keeps its
 * number. */
uint32_t trace_text(const char *text, size_t length);

/* Makes the process's file, with `bytes` of chunks; `arguments` are the program's.  0 or errno; EEXIST: the process has its file;
 * EINVAL: there is no room for two chunks.  A forked child has no file. */
int trace_open(const char *path, size_t bytes, const char *arguments, size_t length);
int trace_is_open(void);

/* How often half of the file has been filled: what was recorded two halves ago is overwritten. */
extern atomic_uint trace_half;

/* Records from now on, until that time (kernel/base/park.h) or the end of the process.  hear_python: the reader of the events with the
 * GIL.  Returns 1; 0: a recording is under way already, and now that time is its end. */
int trace_begin(int64_t until, void (*hear_python)(enum event event, uint64_t a, uint64_t b));

/* Ends the recording if it is that time; PARK_FOREVER: in any case.  The sampler calls it too. */
void trace_end(int64_t now);

/* After trace_begin(), of a thread that can't end meanwhile: gives it a track, with what it is blocked on, unless its kind is 0.  Returns
 * that record in the file, to be completed.  NULL: the thread has recorded by now, so it has a track; or there is no room. */
struct trace_record *trace_there(uintptr_t ident, int tid, uint32_t name, uint32_t nth, const struct trace_record *blocked);

#endif
