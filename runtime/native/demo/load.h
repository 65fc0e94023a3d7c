/* The load of `lwp bench --io`: connections that each send 64 bytes, wait until they have come back, and send others.
 *
 * One thread over epoll(7), so that it takes little of the processor that the server may need. Not over green/poller.h: what
 * measures that shall not be made of it. It compares each byte that comes, and notices when an answer is missing. */
#ifndef RUNTIME_LOAD_H
#define RUNTIME_LOAD_H

struct load {
    int port;        /* on 127.0.0.1 */
    int server;      /* the process whose processor time is taken */
    int http;        /* each message is the path of a GET, and the response's body; else it is echoed */
    int connections; /* with one request each at a time */
    int idle;        /* more connections, which send nothing after their first answer */
    double seconds;  /* to measure, after the first answer of each connection */
    double patience; /* how long no answer may come, in seconds, when one must */
};

struct load_result {
    long answers;
    double seconds;
    double server_cpu, own_cpu; /* processor time in these seconds */
    long server_grew;           /* bytes that the server has more, resident and its own, when each connection had its first answer */
    char why[256];              /* after a failure: what is wrong, in a sentence */
};

/* Returns 0, or -1. It blocks for the seconds, and until the last answer. */
int load_run(const struct load *load, struct load_result *result);

#endif
