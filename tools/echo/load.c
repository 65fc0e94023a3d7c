/* A load for an echo server: each of N connections sends SIZE bytes, waits until all have come back, and sends again.
 *
 *     cc -O2 -o load load.c; ./load PORT CONNECTIONS SECONDS [SIZE]
 *
 * One thread over epoll(7), so that it takes little of the processor that the server may need.  Prints the number of echoes a second. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char data[1 << 16];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static int connected(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (fd < 0)
        fail("socket");
    while (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        if (errno != EINTR)
            fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return fprintf(stderr, "load PORT CONNECTIONS SECONDS [SIZE]\n"), 2;
    int port = atoi(argv[1]), many = atoi(argv[2]), size = argc > 4 ? atoi(argv[4]) : 64;
    double seconds = atof(argv[3]);
    struct rlimit limit;
    int epoll = epoll_create1(0), *fds = calloc((size_t)many, sizeof *fds), *got = calloc((size_t)many, sizeof *got);
    struct epoll_event events[256];
    long echoes = 0;

    if (size < 1 || size > (int)sizeof data || many < 1 || epoll < 0 || !fds || !got)
        return fprintf(stderr, "wrong numbers\n"), 2;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < many; i++) {
        fds[i] = connected(port);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) < 0)
            fail("epoll_ctl");
    }
    for (int i = 0; i < many; i++)
        if (send(fds[i], data, (size_t)size, MSG_NOSIGNAL) != size)
            fail("send");
    double begin = now(), end = begin + seconds, at;
    while ((at = now()) < end) {
        int count = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < count; i++) {
            unsigned which = events[i].data.u32;
            ssize_t length = recv(fds[which], data, sizeof data, MSG_DONTWAIT);
            if (length <= 0)
                return fprintf(stderr, "the server has closed a connection\n"), 1;
            if ((got[which] += (int)length) < size)
                continue;
            got[which] -= size;
            echoes++;
            if (send(fds[which], data, (size_t)size, MSG_NOSIGNAL) != size)
                fail("send");
        }
    }
    printf("%.0f\n", (double)echoes / (at - begin));
    return 0;
}
