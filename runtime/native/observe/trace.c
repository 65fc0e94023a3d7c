#include "observe/trace.h"

#include "kernel/arch/arch.h"
#include "kernel/base/events.h"
#include "kernel/base/fork.h"
#include "kernel/base/pages.h"
#include "kernel/base/park.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FREE, OPEN, FULL };
enum { TRIES = 256 };                     /* chunks that take_chunk() looks at before it gives up */
enum { AHEAD = 64 * 1024 / TRACE_CHUNK }; /* chunks whose pages are made at once */

static struct trace_file *file;
static struct trace_chunk *chunks;

/* The calling thread's. */
static __thread struct trace_chunk *mine;
static __thread uint32_t track, my_name, number;
static __thread int my_tid, runs; /* runs: its last record is TRACE_RUNS */
static __thread long slept;       /* count_sleeps() at that record */
static __thread uint64_t my_nth;
static __thread struct trace_watch *watch;

struct trace_watch trace_watched[TRACE_WATCHED];

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* Makes the pages of the next chunks at once: a page costs 3 us by a page fault, half of that here.  It doesn't make those of the whole
 * file, because a short program fills few chunks. */
static void make_pages(uint64_t from)
{
    int error = errno;

    if (from < file->chunks) {
        size_t bytes = (file->chunks - from < AHEAD ? file->chunks - from : AHEAD) * TRACE_CHUNK;
        madvise(&chunks[from], bytes, MADV_WILLNEED);
        pages_make(&chunks[from], bytes);
    }
    errno = error;
}

static struct trace_chunk *take_chunk(void)
{
    for (int i = 0; i < TRIES; i++) {
        uint64_t at = atomic_fetch_add(&file->hand, 1);
        struct trace_chunk *chunk = &chunks[at % file->chunks];
        if (at % AHEAD == 0)
            make_pages(at + AHEAD);
        int seen = atomic_load_explicit(&chunk->state, memory_order_relaxed);
        if (seen == OPEN
            || !atomic_compare_exchange_strong_explicit(&chunk->state, &seen, OPEN, memory_order_acquire, memory_order_relaxed))
            continue;
        atomic_fetch_add_explicit(&file->overwritten, atomic_load_explicit(&chunk->used, memory_order_relaxed), memory_order_relaxed);
        atomic_store_explicit(&chunk->used, 0, memory_order_release);
        return chunk;
    }
    return NULL;
}

static void close_mine(void)
{
    if (mine)
        atomic_store_explicit(&mine->state, FULL, memory_order_release);
    mine = NULL;
}

static void be_watched(void)
{
    for (int i = 0, none = 0; i < TRACE_WATCHED && !watch; i++, none = 0)
        if (!atomic_load_explicit(&trace_watched[i].tid, memory_order_relaxed)
            && atomic_compare_exchange_strong(&trace_watched[i].tid, &none, my_tid))
            watch = &trace_watched[i];
    if (watch)
        watch->track = track;
}

static int open_another(void)
{
    close_mine();
    struct trace_chunk *chunk = take_chunk();
    if (!chunk)
        return 0;
    if (!track) {
        track = atomic_fetch_add(&file->tracks, 1) + 1;
        my_tid = gettid();
        be_watched();
    }
    chunk->tid = my_tid;
    chunk->track = track;
    chunk->number = number++;
    atomic_store(&chunk->nth, my_nth);
    atomic_store(&chunk->name, my_name);
    mine = chunk;
    return 1;
}

/* How often the calling thread went to sleep.  A preemption doesn't count. */
static long count_sleeps(void)
{
    struct rusage used;

    getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw;
}

void trace_note(enum trace_kind kind, uint16_t what, uint32_t site, uint64_t a, uint64_t b)
{
    unsigned at = mine ? atomic_load_explicit(&mine->used, memory_order_relaxed) : TRACE_RECORDS;

    if (at == TRACE_RECORDS) {
        if (!open_another()) {
            atomic_fetch_add(&file->lost, 1);
            return;
        }
        at = 0;
    }
    int64_t now = park_now();
    unsigned awake = kind > TRACE_RUNS && kind <= TRACE_LEAVES && runs && count_sleeps() == slept ? TRACE_AWAKE : 0;
    if (kind <= TRACE_LEAVES) {
        runs = kind == TRACE_RUNS;
        slept = runs ? count_sleeps() : 0;
    }
    mine->records[at] = (struct trace_record){now, (uint16_t)(kind | awake), what, site, a, b};
    atomic_store_explicit(&mine->used, at + 1, memory_order_release); /* the file's reader takes `used` records for complete */
    if (watch && kind <= TRACE_ENDS)
        atomic_store_explicit(&watch->since, kind == TRACE_RUNS ? now : 0, memory_order_release);
}

void trace_name(uint32_t text, uint64_t nth)
{
    my_name = text;
    my_nth = nth;
    if (mine) {
        atomic_store(&mine->nth, nth);
        atomic_store(&mine->name, text);
    }
}

static void leave_trace(void)
{
    close_mine();
    if (watch) {
        atomic_store(&watch->since, 0);
        atomic_store(&watch->tid, 0);
        watch = NULL;
    }
}

static void record_event(enum event event, uint64_t a, uint64_t b)
{
    uint64_t me = (uint64_t)(uintptr_t)arch_thread_pointer();

    switch (event) {
    case EVENT_STARTS:
        trace_note(TRACE_STARTS, 0, 0, a, 0);
        break;
    case EVENT_BORN:
        trace_note(TRACE_BORN, 0, 0, me, 0);
        break;
    case EVENT_PYTHON:
        trace_note(TRACE_WANTS_GIL, 0, 0, 0, 0);
        break;
    case EVENT_WANTS_GIL:
        trace_note(TRACE_WANTS_GIL, 0, 0, a, 0);
        break;
    case EVENT_HAS_GIL:
        trace_note(TRACE_RUNS, 0, 0, 0, 0);
        break;
    case EVENT_LEAVES_GIL:
        trace_note(TRACE_LEAVES, 0, 0, 0, 0);
        break;
    case EVENT_GRANTS:
        trace_note(TRACE_GRANTS, 0, 0, a, b);
        break;
    case EVENT_RELEASES:
        trace_note(TRACE_RELEASES, 0, 0, a, 0);
        break;
    case EVENT_EXIT:
        trace_note(TRACE_ENDS, 0, 0, me, 0);
        leave_trace();
        break;
    default:
        break;
    }
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

uint32_t trace_text(const char *text, size_t length)
{
    uint32_t size = (uint32_t)((sizeof(uint32_t) + length + 7) & ~(size_t)7), at = atomic_load(&file->texts_used);

    do
        if (length > 4096 || at + size > TRACE_TEXTS) {
            atomic_fetch_add(&file->texts_lost, 1);
            return 0;
        }
    while (!atomic_compare_exchange_weak(&file->texts_used, &at, at + size));
    char *place = (char *)file + TRACE_HEADER + at;
    memcpy(place + sizeof(uint32_t), text, length);
    *(uint32_t *)place = (uint32_t)length;
    return at / 8;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

/* Stops both readers: while one of their bits is left, every place that tells an event goes on to tell it. */
static void stop_reading(void)
{
    events_end(EVENTS_TRACE);
    events_end(EVENTS_PYTHON_TRACE);
}

static const struct fork_handlers fork_handlers = {.in_child = stop_reading}; /* the file is the parent's */

static int map_file(const char *path, size_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600); /* names and lines of the program are its owner's */
    if (fd < 0)
        return errno;
    /* Allocate all blocks now, or a full disk would be a SIGBUS at some later record. */
    int error = posix_fallocate(fd, 0, (off_t)bytes);
    void *mapped = error ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!error && mapped == MAP_FAILED)
        error = errno;
    close(fd);
    if (error)
        unlink(path);
    else
        file = mapped;
    return error;
}

int trace_begin(const char *path, size_t bytes, const char *arguments, size_t length)
{
    size_t count = bytes / TRACE_CHUNK;

    if (file)
        return EBUSY;
    int error = map_file(path, TRACE_HEADER + TRACE_TEXTS + count * TRACE_CHUNK);
    if (error)
        return error;
    chunks = (struct trace_chunk *)((char *)file + TRACE_HEADER + TRACE_TEXTS);
    *file = (struct trace_file){.version = TRACE_VERSION,
                                .chunk_size = TRACE_CHUNK,
                                .record_size = sizeof(struct trace_record),
                                .texts_size = TRACE_TEXTS,
                                .chunks = count,
                                .pid = getpid(),
                                .texts_used = 8,
                                .begun_ns = park_now(),
                                .begun_unix_ns = park_clock(CLOCK_REALTIME)};
    memcpy(file->magic, TRACE_MAGIC, sizeof file->magic);
    file->arguments = trace_text(arguments, length);
    make_pages(0);
    fork_handle(FORK_TRACE, &fork_handlers);
    events_begin(EVENTS_TRACE, record_event);
    return 0;
}

void trace_end(void)
{
    if (!events_read_by(EVENTS_TRACE))
        return;
    stop_reading(); /* the file stays mapped: a thread may still be writing a record */
    file->ended_ns = park_now();
    file->finished = 1;
}
