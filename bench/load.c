/* The load of `python -m bench io`: connections that each send 64 bytes, wait until they have come back, and send others.
 *
 *     load PORT SERVER HTTP CONNECTIONS IDLE SECONDS PATIENCE
 *
 * Prints what it has found as JSON, or what is wrong on standard error: the answers that came in so many seconds, the processor
 * time of the server and its own in them, and the bytes that the server had more, resident and its own, when each connection had
 * its first answer. One thread over epoll(7), so that it takes little of
 * the processor that the server may need. It compares each byte that comes, and notices when an answer is missing. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, ANSWER = 512, BATCH = 256 };

struct connection {
    int fd; /* -1: the next request makes it */
    unsigned turn;
    int waits;    /* for an answer */
    size_t taken; /* bytes of it */
    char answer[ANSWER];
};

struct state {
    /* what is asked for */
    int port;        /* on 127.0.0.1 */
    int server;      /* the process whose processor time is taken */
    int http;        /* each message is the path of a GET, and the response's body; otherwise it is echoed */
    int asking;      /* connections with one request each at a time */
    int idle;        /* more connections, which send nothing after their first answer */
    double seconds;  /* to measure, after the first answer of each connection */
    double patience; /* how long no answer may come, in seconds, when one must */
    /* where it stands */
    struct connection *connections; /* those that send, then the idle ones */
    int made, epoll, unanswered;
    long answers;
};

__attribute__((format(printf, 1, 2))) static int fail(const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    return -1;
}

/* Another one for each connection and turn: neither another's nor a former answer is taken for the right one. */
static void write_message(char *to, unsigned which, unsigned turn)
{
    uint64_t mixed = (uint64_t)which << 32 | turn;

    for (int at = 0; at < MESSAGE; at++) {
        if (at % 16 == 0)
            mixed = (mixed + 1) * 0x9E3779B97F4A7C15u; /* odd, so that no two become one */
        to[at] = "0123456789abcdef"[mixed >> 4 * (at % 16) & 15];
    }
    to[0] = '/';
}

static int connect_one(struct state *state, int which)
{
    struct connection *connection = &state->connections[which];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)which};
    int on = 1;

    to.sin_port = htons((uint16_t)state->port);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&to, sizeof to) < 0
        || setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0
        || epoll_ctl(state->epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0)
        return fail("connection %d: %s", which + 1, strerror(errno));
    return 0;
}

static int send_request(struct state *state, struct connection *connection)
{
    char request[MESSAGE + 64], message[MESSAGE];
    int which = (int)(connection - state->connections), size = MESSAGE;

    if (connection->fd < 0 && connect_one(state, which) < 0)
        return -1;
    write_message(message, (unsigned)which, ++connection->turn);
    if (state->http)
        size = snprintf(request, sizeof request, "GET %.*s HTTP/1.1\r\nHost: localhost\r\n\r\n", MESSAGE, message);
    else
        memcpy(request, message, MESSAGE);
    /* There is always space for the one request, so this never waits. */
    if (send(connection->fd, request, (size_t)size, MSG_NOSIGNAL) != size)
        return fail("connection %d: %s", which + 1, strerror(errno));
    connection->waits = 1;
    state->unanswered++;
    return 0;
}

static int send_requests(struct state *state, int count)
{
    for (int which = 0; which < count; which++)
        if (send_request(state, &state->connections[which]) < 0)
            return -1;
    return 0;
}

static int fail_answer(const struct state *state, const struct connection *connection, const char *message)
{
    char shown[MESSAGE + 1] = "";

    for (size_t at = 0; at < connection->taken && at < MESSAGE; at++)
        shown[at] = isprint((unsigned char)connection->answer[at]) ? connection->answer[at] : '.';
    return fail("connection %d: wrong answer to its request %u, %.*s: %s", (int)(connection - state->connections) + 1, connection->turn,
                MESSAGE, message, shown);
}

/* Whether a response's head has that line, in whatever case its server writes. */
static int has_line(const char *head, size_t size, const char *line)
{
    const char *end = head + size, *at = head;

    while ((at = memchr(at, '\n', (size_t)(end - at))))
        if ((size_t)(end - ++at) >= strlen(line) && strncasecmp(at, line, strlen(line)) == 0)
            return 1;
    return 0;
}

/* Bytes before the message: of a response's head, none in an echo. -1: wrong. ANSWER: not all has come. */
static ssize_t head_size(const struct state *state, const struct connection *connection)
{
    static const char status[] = "HTTP/1.1 200 ", end[] = "\r\n\r\n";
    const char *head = connection->answer, *found;

    if (!state->http)
        return 0;
    found = memmem(head, connection->taken, end, sizeof end - 1);
    if (!found)
        return connection->taken < ANSWER ? ANSWER : -1;
    size_t size = (size_t)(found - head) + sizeof end - 1;
    if (memcmp(head, status, sizeof status - 1) != 0 || !has_line(head, size, "Content-Length: 64\r\n"))
        return -1;
    return (ssize_t)size;
}

/* Takes what has come. Returns 1 after a whole answer, 0 when more must come, -1 on failure. */
static int take_answer(struct state *state, struct connection *connection)
{
    int which = (int)(connection - state->connections);
    char message[MESSAGE];
    ssize_t size = recv(connection->fd, connection->answer + connection->taken, ANSWER - connection->taken, MSG_DONTWAIT);

    if (size < 0)
        return errno == EAGAIN ? 0 : fail("connection %d: %s", which + 1, strerror(errno));
    if (size == 0)
        return fail("connection %d: the server has closed it", which + 1);
    connection->taken += (size_t)size;
    if (!connection->waits)
        return fail("connection %d: bytes came for no request", which + 1);
    write_message(message, (unsigned)which, connection->turn);
    ssize_t head = head_size(state, connection);
    if (head < 0 || (head < ANSWER && connection->taken > (size_t)head + MESSAGE))
        return fail_answer(state, connection, message);
    if (connection->taken < (size_t)head + MESSAGE)
        return 0;
    if (memcmp(connection->answer + head, message, MESSAGE) != 0)
        return fail_answer(state, connection, message);
    if (has_line(connection->answer, (size_t)head, "Connection: close\r\n")) {
        close(connection->fd);
        connection->fd = -1;
    }
    connection->taken = 0;
    connection->waits = 0;
    state->unanswered--;
    state->answers++;
    return 1;
}

static double clock_seconds(clockid_t clock)
{
    struct timespec at = {0};

    clock_gettime(clock, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* until: the next request follows each answer, up to that time, and longer if not as many answers have come as there are
 * connections: there is always a rate. 0: only the answers that are missing are taken. */
static int take_answers(struct state *state, double until)
{
    struct epoll_event events[BATCH];
    double now;

    while ((now = clock_seconds(CLOCK_MONOTONIC)) < until || (until > 0 ? state->answers < state->asking : state->unanswered > 0)) {
        int timeout_ms = (int)((now < until ? until - now : state->patience) * 1e3) + 1;
        int count = epoll_wait(state->epoll, events, BATCH, timeout_ms);
        if (count < 0 && errno != EINTR)
            return fail("epoll_wait: %s", strerror(errno));
        if (count == 0 && now >= until)
            return fail("%d of %d connections wait for an answer, and none came for %g s", state->unanswered, state->made,
                        state->patience);
        for (int at = 0; at < count; at++) {
            struct connection *connection = &state->connections[events[at].data.u32];
            int whole = take_answer(state, connection);
            if (whole < 0 || (whole && until > 0 && send_request(state, connection) < 0))
                return -1;
        }
    }
    return 0;
}

/* Resident memory of its own, in bytes; 0 if it has ended. */
static long memory_of(int process)
{
    static const char key[] = "RssAnon:";
    char name[64], line[128];
    long kib = 0;

    snprintf(name, sizeof name, "/proc/%d/status", process);
    FILE *status = fopen(name, "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, key, sizeof key - 1) == 0)
            kib = strtol(line + sizeof key - 1, NULL, 10);
    if (status)
        fclose(status);
    return kib << 10;
}

static int measure_load(struct state *state)
{
    double begin, seconds, server_cpu, own_cpu;
    long answers, server_grew = -memory_of(state->server);
    clockid_t server;

    for (; state->made < state->asking + state->idle; state->made++)
        if (connect_one(state, state->made) < 0)
            return -1;
    /* The first answer of each is not measured: after it all have been accepted, and all threads have begun. */
    if (send_requests(state, state->made) < 0 || take_answers(state, 0) < 0)
        return -1;
    if (clock_getcpuclockid(state->server, &server) != 0)
        return fail("the server has ended");
    server_grew += memory_of(state->server);
    state->answers = 0;
    server_cpu = -clock_seconds(server);
    own_cpu = -clock_seconds(CLOCK_THREAD_CPUTIME_ID);
    begin = clock_seconds(CLOCK_MONOTONIC);
    if (send_requests(state, state->asking) < 0 || take_answers(state, begin + state->seconds) < 0)
        return -1;
    seconds = clock_seconds(CLOCK_MONOTONIC) - begin;
    server_cpu += clock_seconds(server);
    own_cpu += clock_seconds(CLOCK_THREAD_CPUTIME_ID);
    answers = state->answers;
    if (take_answers(state, 0) < 0)
        return -1;
    printf("{\"answers\": %ld, \"seconds\": %.9f, \"server_cpu\": %.9f, \"own_cpu\": %.9f, \"server_grew\": %ld}\n", answers, seconds,
           server_cpu, own_cpu, server_grew);
    return 0;
}

int main(int count, char **words)
{
    if (count != 8)
        return fail("load PORT SERVER HTTP CONNECTIONS IDLE SECONDS PATIENCE"), 2;
    struct state state = {
        .port = atoi(words[1]),
        .server = atoi(words[2]),
        .http = atoi(words[3]),
        .asking = atoi(words[4]),
        .idle = atoi(words[5]),
        .seconds = atof(words[6]),
        .patience = atof(words[7]),
        .epoll = epoll_create1(EPOLL_CLOEXEC),
    };
    state.connections = calloc((size_t)state.asking + (size_t)state.idle, sizeof *state.connections);
    if (state.epoll < 0 || !state.connections)
        return fail("%s", strerror(errno)), 1;
    return measure_load(&state) < 0;
}
