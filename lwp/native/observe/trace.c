#include "observe/trace.h"

#include "kernel/arch/arch.h"
#include "kernel/base/events.h"
#include "kernel/base/fork.h"
#include "kernel/base/pages.h"
#include "kernel/base/park.h"
#include "kernel/glibc/glibc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 256 };                     /* chunks that take_chunk() looks at before it gives up */
enum { QUICK = 20000 }; /* ns: a thread that has run for less counts as awake without a question to the kernel */
enum { NOT_ASKED = -1 };
enum { AHEAD = 64 * 1024 / TRACE_CHUNK }; /* chunks whose pages are made at once */

/* Whatever decides where a record is written stands here and in the threads' own variables.  What the file says of it is for readers, and
 * is never read back: other programs of the same user can write there. */
static struct trace_file *file;
static struct trace_chunk *chunks;
static uint64_t count; /* of chunks */
static atomic_ullong hand; /* chunks taken so far */
static atomic_uint texts_used, tracks;

/* The calling thread's. */
static __thread struct trace_chunk *_Atomic mine; /* NULL: it takes another for its next record */
static __thread unsigned used; /* records in it */
static __thread uint32_t track, number;
static __thread atomic_uint my_name, my_nth;
static __thread int my_tid, runs; /* runs: its last record is TRACE_RUNS */
static __thread struct {
    int64_t since, sleeps; /* of the last TRACE_RUNS: its time, and what count_sleeps() said then, or NOT_ASKED */
    int was_quick; /* it ran for less than QUICK the time before, so it may do so again */
} run;
static __thread struct trace_watch *watch;

/* What trace_there() has given the thread: the chunk's place << 32 | track, and TWO if the chunk has two records, not one.  Or TOOK |
 * track: it has taken that track itself. */
static __thread _Atomic uint64_t given;
#define TOOK (1ULL << 63)
#define TWO (1ULL << 62)

static atomic_uint first_track = 1; /* of the recording.  A thread whose track is below has recorded nothing in it */
static int64_t record_until; /* 0: nothing is recorded */
static atomic_int changing; /* a lock; order: docs/architecture.md */

struct trace_watch trace_watched[TRACE_WATCHED];
atomic_uint trace_half;

/* ---- records ----------------------------------------------------------------------------------------------------- */

/* Makes the pages of the next chunks at once: a page costs 3 us by a page fault, half of that here.  It doesn't make those of the whole
 * file, because a short program fills few chunks. */
static void make_pages(uint64_t from)
{
    int error = errno;

    if (from < count) {
        size_t bytes = (count - from < AHEAD ? count - from : AHEAD) * TRACE_CHUNK;
        madvise(&chunks[from], bytes, MADV_WILLNEED);
        pages_make(&chunks[from], bytes);
    }
    errno = error;
}

/* A chunk of that track, with TRACE_OPENS and no records; NULL: there is none. */
static struct trace_chunk *take_chunk(uint32_t of_track)
{
    unsigned first = atomic_load_explicit(&first_track, memory_order_relaxed);

    for (int i = 0; i < TRIES; i++) {
        uint64_t at = atomic_fetch_add(&hand, 1);
        atomic_fetch_add(&file->hand, 1);
        struct trace_chunk *chunk = &chunks[at % count];
        if (at % AHEAD == 0)
            make_pages(at + AHEAD);
        if (at % (count / 2) == 0)
            atomic_fetch_add(&trace_half, 1);
        unsigned seen = atomic_load_explicit(&chunk->state, memory_order_relaxed);
        unsigned drops = (seen & ~TRACE_FULL) >= first; /* the rest is of an earlier recording */
        if ((drops && !(seen & TRACE_FULL))
            || !atomic_compare_exchange_strong_explicit(&chunk->state, &seen, of_track | TRACE_OPENS, memory_order_acquire,
                                                        memory_order_relaxed))
            continue;
        if (drops)
            atomic_fetch_add_explicit(&file->overwritten, atomic_load_explicit(&chunk->used, memory_order_relaxed),
                                      memory_order_relaxed);
        atomic_store_explicit(&chunk->used, 0, memory_order_relaxed);
        return chunk;
    }
    return NULL;
}

static void open_chunk(struct trace_chunk *chunk, int tid, uintptr_t tp, uint32_t name, uint32_t nth, uint32_t earlier)
{
    chunk->tid = tid;
    chunk->tp = tp;
    chunk->number = earlier;
    atomic_store_explicit(&chunk->name, name, memory_order_relaxed);
    atomic_store_explicit(&chunk->nth, nth, memory_order_relaxed);
    atomic_fetch_and_explicit(&chunk->state, ~TRACE_OPENS, memory_order_release);
}

static void close_mine(void)
{
    if (mine)
        atomic_fetch_or_explicit(&mine->state, TRACE_FULL, memory_order_release);
    mine = NULL;
}

/* A place among the threads that the sampler looks at: the track's, or one that is free; NULL: there is none. */
static struct trace_watch *watch_track(int tid, uint32_t of_track)
{
    for (int i = 0; i < TRACE_WATCHED; i++)
        if (trace_watched[i].track == of_track && atomic_load_explicit(&trace_watched[i].tid, memory_order_relaxed) == tid)
            return &trace_watched[i];
    for (int i = 0, none = 0; i < TRACE_WATCHED; i++, none = 0)
        if (!atomic_load_explicit(&trace_watched[i].tid, memory_order_relaxed)
            && atomic_compare_exchange_strong(&trace_watched[i].tid, &none, tid)) {
            trace_watched[i].track = of_track;
            return &trace_watched[i];
        }
    return NULL;
}

/* The thread's first record in this recording. */
static void take_track(unsigned first)
{
    uint32_t own = atomic_fetch_add(&tracks, 1) + 1;
    uint64_t had = atomic_exchange(&given, TOOK | own);

    close_mine();
    track = own;
    number = 0;
    runs = 0;
    if (!(had & TOOK) && (uint32_t)had >= first) {
        track = (uint32_t)had;
        mine = &chunks[(had & ~TWO) >> 32];
        used = had & TWO ? 2 : 1;
        number = 1;
        my_name = atomic_load_explicit(&mine->name, memory_order_relaxed);
        my_nth = atomic_load_explicit(&mine->nth, memory_order_relaxed);
    }
    my_tid = gettid();
    watch = watch_track(my_tid, track);
}

static struct trace_chunk *open_another(void)
{
    close_mine();
    struct trace_chunk *chunk = take_chunk(track);
    if (chunk)
        open_chunk(chunk, my_tid, (uintptr_t)arch_thread_pointer(), my_name, my_nth, number++);
    used = 0;
    return mine = chunk;
}

/* How often the calling thread went to sleep.  A preemption doesn't count. */
static int64_t count_sleeps(void)
{
    struct rusage used;

    getrusage(RUSAGE_THREAD, &used);
    return used.ru_nvcsw;
}

/* getrusage(2) costs as much as all else of a wait's records.  So it is left out where a thread runs for a moment between two waits, as
 * threads do that wait often; there the kernel has little to tell. */
static void begin_run(int64_t now)
{
    run.since = now;
    run.sleeps = run.was_quick ? NOT_ASKED : count_sleeps();
}

/* Returns whether the thread has been awake since begin_run(), as far as that is known. */
static int end_run(int64_t now)
{
    run.was_quick = now - run.since < QUICK;
    return run.was_quick || (run.sleeps != NOT_ASKED && run.sleeps == count_sleeps());
}

void trace_note(enum trace_kind kind, uint16_t what, uint32_t site, uint64_t a, uint64_t b)
{
    unsigned first = atomic_load_explicit(&first_track, memory_order_relaxed);

    if (track < first)
        take_track(first);
    struct trace_chunk *chunk = atomic_load_explicit(&mine, memory_order_relaxed);
    if ((!chunk || used == TRACE_RECORDS) && !(chunk = open_another())) {
        atomic_fetch_add(&file->lost, 1);
        return;
    }
    int64_t now = park_now();
    unsigned awake = 0;
    if (kind <= TRACE_LEAVES) {
        if (runs && end_run(now))
            awake = TRACE_AWAKE;
        runs = kind == TRACE_RUNS;
        if (runs)
            begin_run(now);
    }
    chunk->records[used] = (struct trace_record){now, (uint16_t)(kind | awake), what, site, a, b};
    atomic_store_explicit(&chunk->used, ++used, memory_order_release); /* the file's reader takes `used` records for complete */
    if (watch && kind <= TRACE_ENDS)
        atomic_store_explicit(&watch->since, kind == TRACE_RUNS ? now : 0, memory_order_release);
}

void trace_name(uint32_t text, uint32_t nth)
{
    my_name = text;
    my_nth = nth;
    if (mine && track >= atomic_load_explicit(&first_track, memory_order_relaxed)) {
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

/* Which record tells an event, and how many of the event's two values are its own; OF_ME: the thread pointer instead. */
enum { OF_ME = -1 };
static const struct {
    enum trace_kind kind;
    int values;
} records_of[] = {
    [EVENT_STARTS] = {TRACE_STARTS, 1},       [EVENT_BORN] = {TRACE_BORN, OF_ME},     [EVENT_PYTHON] = {TRACE_WANTS_GIL, 0},
    [EVENT_WANTS_GIL] = {TRACE_WANTS_GIL, 1}, [EVENT_HAS_GIL] = {TRACE_RUNS, 0},      [EVENT_LEAVES_GIL] = {TRACE_LEAVES, 0},
    [EVENT_GRANTS] = {TRACE_GRANTS, 2},       [EVENT_RELEASES] = {TRACE_RELEASES, 1}, [EVENT_EXIT] = {TRACE_ENDS, OF_ME},
};

static void record_event(enum event event, uint64_t a, uint64_t b)
{
    if (event >= sizeof records_of / sizeof *records_of || !records_of[event].kind)
        return;
    int values = records_of[event].values;
    if (values == OF_ME)
        a = (uintptr_t)arch_thread_pointer();
    trace_note(records_of[event].kind, 0, 0, values ? a : 0, values == 2 ? b : 0);
    if (event == EVENT_EXIT)
        leave_trace();
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

uint32_t trace_text(const char *text, size_t length)
{
    uint32_t size = (uint32_t)((sizeof(uint32_t) + length + 7) & ~(size_t)7), at = atomic_load(&texts_used);

    do
        if (length > 4096 || at + size > TRACE_TEXTS) {
            atomic_fetch_add(&file->texts_lost, 1);
            return 0;
        }
    while (!atomic_compare_exchange_weak(&texts_used, &at, at + size));
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
    record_until = 0;
}

/* The file is the parent's, and the child may make one of its own. */
static void forget_file(void)
{
    atomic_store(&changing, 0);
    if (!file)
        return;
    stop_reading();
    munmap(file, TRACE_HEADER + TRACE_TEXTS + count * TRACE_CHUNK);
    file = NULL;
    mine = NULL;
    watch = NULL;
    track = my_name = my_nth = 0;
    atomic_store(&given, 0);
    atomic_store(&first_track, 1);
}

static const struct fork_handlers fork_handlers = {.in_child = forget_file};

/* Whether that name stands for the file that fd has open. */
static int is_named(int fd, const char *path)
{
    struct stat one, other;

    return fstat(fd, &one) == 0 && lstat(path, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* Removes an earlier file of that name, unless a program still records into it.  0 or errno. */
static int remove_earlier(const char *path)
{
    struct stat found;
    int error = 0, fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        error = errno;
        /* Another user's file that can't be read, or link: the folder decides whether it can be removed, as for rm(1). */
        if ((error == EACCES || error == ELOOP) && lstat(path, &found) == 0 && found.st_uid != geteuid())
            error = unlink(path) == 0 ? 0 : errno;
        return error;
    }
    if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode))
        error = EEXIST;
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        error = EBUSY;
    else if (is_named(fd, path) && unlink(path) != 0) /* which no program does without this lock */
        error = errno;
    close(fd);
    return error;
}

/* Makes the file anew, so that none of another user, and none that is mapped, is ever written into.  Its lock tells others that it is in
 * use; the lock belongs to the open file (fs/locks.c, locks_remove_file), and so stays until the last mapping goes, without a descriptor.
 * For whom the mode counts, it refuses a truncation from outside, which would be a SIGBUS at the next record.  The fd, or -errno. */
static int make_file(const char *path)
{
    enum { TRIES = 100 }; /* other programs may make and remove files of this name at the same time */

    for (int i = 0; i < TRIES; i++) {
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0400); /* names and lines of the program are its owner's */
        if (fd < 0) {
            int error = errno == EEXIST ? remove_earlier(path) : errno;
            if (error && error != ENOENT)
                return -error;
            continue;
        }
        int others = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; /* one has it open to remove it */
        if (!others && is_named(fd, path))
            return fd;
        close(fd);
    }
    return -EBUSY;
}

static int map_file(const char *path, size_t bytes)
{
    int fd = make_file(path);
    if (fd < 0)
        return -fd;
    /* Allocate all blocks now, or a full disk would be a SIGBUS at some later record. */
    int error = posix_fallocate(fd, 0, (off_t)bytes);
    void *mapped = error ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!error && mapped == MAP_FAILED)
        error = errno;
    if (error)
        unlink(path);
    else
        file = mapped;
    close(fd);
    return error;
}

int trace_is_open(void)
{
    return file != NULL;
}

int trace_open(const char *path, size_t bytes, const char *arguments, size_t length)
{
    if (file)
        return EEXIST;
    if (bytes / TRACE_CHUNK < 2)
        return EINVAL;
    count = bytes / TRACE_CHUNK;
    int error = map_file(path, TRACE_HEADER + TRACE_TEXTS + count * TRACE_CHUNK);
    if (error)
        return error;
    atomic_store(&hand, 0);
    atomic_store(&tracks, 0);
    atomic_store(&texts_used, 8); /* 0: no text */
    chunks = (struct trace_chunk *)((char *)file + TRACE_HEADER + TRACE_TEXTS);
    *file = (struct trace_file){.version = TRACE_VERSION,
                                .chunk_size = TRACE_CHUNK,
                                .record_size = sizeof(struct trace_record),
                                .texts_size = TRACE_TEXTS,
                                .chunks = count,
                                .pid = getpid()};
    memcpy(file->magic, TRACE_MAGIC, sizeof file->magic);
    file->arguments = trace_text(arguments, length);
    make_pages(0);
    fork_handle(FORK_TRACE, &fork_handlers);
    return 0;
}

int trace_begin(int64_t until, void (*hear_python)(enum event event, uint64_t a, uint64_t b))
{
    park_lock(&changing);
    int begins = record_until == 0;
    record_until = until;
    if (begins) {
        for (int i = 0; i < TRACE_WATCHED; i++) /* a thread that ended while nothing was recorded has left its place behind */
            atomic_store(&trace_watched[i].tid, 0);
        file->finished = 0;
        file->begun_ns = park_now();
        file->begun_unix_ns = park_clock(CLOCK_REALTIME);
        atomic_store(&file->overwritten, 0);
        atomic_store(&file->lost, 0);
        unsigned first = atomic_load(&tracks) + 1;
        file->first_track = first;
        atomic_store(&first_track, first);
        events_begin(EVENTS_TRACE, record_event);
        events_begin(EVENTS_PYTHON_TRACE, hear_python);
    }
    park_unlock(&changing);
    return begins;
}

void trace_end(int64_t now)
{
    park_lock(&changing);
    if (record_until && now >= record_until) {
        stop_reading(); /* the file stays mapped: a thread may still be writing a record */
        file->ended_ns = park_now();
        file->finished = 1;
    }
    park_unlock(&changing);
}

#define THEIRS(ident, variable) ((__typeof__(variable) *)((ident) + (uintptr_t)&(variable) - (uintptr_t)pthread_self()))

/* Names a thread that has recorded already, if it has no name. */
static void name_thread(uintptr_t ident, uint32_t of_track, uint32_t name, uint32_t nth)
{
    struct trace_chunk *chunk = atomic_load(THEIRS(ident, mine));

    if (atomic_load(THEIRS(ident, my_name)) || atomic_load(THEIRS(ident, my_nth)))
        return;
    atomic_store(THEIRS(ident, my_nth), nth);
    atomic_store(THEIRS(ident, my_name), name);
    if (chunk && (atomic_load(&chunk->state) & ~TRACE_OPENS) == of_track) {
        atomic_store(&chunk->nth, nth);
        atomic_store(&chunk->name, name);
    }
}

struct trace_record *trace_there(uintptr_t ident, int tid, uint32_t name, uint32_t nth, const struct trace_record *blocked)
{
    _Atomic uint64_t *theirs = THEIRS(ident, given);
    uint64_t had = atomic_load(theirs);
    uint32_t of_track = atomic_fetch_add(&tracks, 1) + 1;
    struct trace_chunk *chunk = had & TOOK && (uint32_t)had >= atomic_load(&first_track) ? NULL : take_chunk(of_track);

    if (!chunk) {
        name_thread(ident, (uint32_t)had, name, nth);
        return NULL;
    }
    int64_t now = park_now();
    chunk->records[0] = (struct trace_record){.ns = now, .kind = TRACE_THERE};
    chunk->records[1] = *blocked;
    chunk->records[1].ns = now;
    atomic_store_explicit(&chunk->used, blocked->kind ? 2 : 1, memory_order_relaxed);
    open_chunk(chunk, tid, (uintptr_t)glibc_thread_pointer((void *)ident), name, nth, 0);
    if (!atomic_compare_exchange_strong(theirs, &had, (uint64_t)(chunk - chunks) << 32 | (blocked->kind ? TWO : 0) | of_track)) {
        atomic_store(&chunk->used, 0); /* it has just taken a track itself */
        atomic_fetch_or(&chunk->state, TRACE_FULL);
        name_thread(ident, (uint32_t)had, name, nth);
        return NULL;
    }
    struct trace_watch *place = blocked->kind ? NULL : watch_track(tid, of_track);
    if (place)
        atomic_store(&place->since, now);
    return &chunk->records[1];
}
