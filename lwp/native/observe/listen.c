#include "observe/listen.h"

#include "kernel/base/park.h"
#include "observe/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LONGEST_QUESTION = 4096, QUEUED = 64 }; /* bytes; connections that wait for their turn */
enum { KEPT_SECONDS = 1, GIL_SECONDS = 5, ANSWER_SECONDS = 10 }; /* for the GIL: while one thread keeps it; while it goes round */
enum { QUESTION_SECONDS = 1, SEND_SECONDS = 5 }; /* that a client is given */

static struct {
    const struct listen_answers *answers;
    struct sockaddr_un address;
    int waker; /* in the listener's table: where a byte is written that ends the listener */
    uid_t owner; /* who has made the socket: the process may become another user */
    pid_t pid;   /* of the process that listens; 0: none */
    pthread_t listener, answerer;
    atomic_int ready; /* 1: the socket is there; less than 0: -errno */
    atomic_int serving; /* a client, which may be slow */
    atomic_int closing; /* Python answers no more */
    atomic_int tids[2];
} listens;

enum { FREE, ASKED, TAKEN, DONE, LATE, PAUSED, CLOSED };

static struct {
    atomic_int state;
    char *question, *answer;
    const char *why; /* no answer has come */
    int kept; /* because one thread has kept the GIL, with ... */
    unsigned long turns; /* ... this number of `turns` */
} desk = {.why = "there is no memory"};

/* ---- the answerer ------------------------------------------------------------------------------------------------ */

static int move_desk(int from, int to)
{
    return atomic_compare_exchange_strong(&desk.state, &from, to);
}

/* All, because two may wait for a state that the third sets: the listener or the answerer, and who closes the desk. */
static void wake_all(void)
{
    futex_wake(&desk.state, INT_MAX, PARK_PRIVATE);
}

static void set_desk(int state)
{
    atomic_store(&desk.state, state);
    wake_all();
}

static int take_question(void)
{
    int taken = move_desk(ASKED, TAKEN);

    wake_all();
    return taken;
}

static void answer_one(void)
{
    char *question = desk.question;
    char *answer = listens.answers->told(question, take_question);

    free(question);
    desk.answer = answer;
    if (move_desk(TAKEN, DONE)) {
        wake_all();
        return;
    }
    free(answer);
    set_desk(FREE);
}

static void *answerer_main(void *unused)
{
    prctl(PR_SET_NAME, "lwp-answer");
    atomic_store(&listens.tids[0], gettid());
    futex_wake(&listens.tids[0], 1, PARK_PRIVATE);
    for (int state; (state = atomic_load(&desk.state)) != CLOSED;)
        if (state == ASKED)
            answer_one();
        else
            futex_wait(&desk.state, state, PARK_FOREVER, PARK_PRIVATE);
    return NULL;
}

/* ---- the listener ------------------------------------------------------------------------------------------------ */

/* Waits until the state is another one, or the time is up. */
static void wait_while(int state, int64_t until)
{
    while (atomic_load(&desk.state) == state && futex_wait(&desk.state, state, until, PARK_PRIVATE) != ETIMEDOUT)
        ;
}

/* The same, but only as long as the GIL goes from thread to thread.  A thread that wants it may have to wait for many others, each of which
 * has it for 5 ms or longer, so a second without it doesn't mean that it is never free. */
static void wait_for_gil(int state, int64_t until)
{
    unsigned long turns;

    do {
        int64_t kept = park_now() + KEPT_SECONDS * PARK_SECOND;
        turns = listens.answers->turns();
        wait_while(state, kept < until ? kept : until);
    } while (atomic_load(&desk.state) == state && listens.answers->turns() != turns && park_now() < until);
}

static const char gil_kept[] = "the GIL is not free";

/* Gives up, unless the state has changed. */
static int give_up(int state, const char *why)
{
    desk.why = why;
    desk.kept = why == gil_kept;
    desk.turns = listens.answers->turns();
    return move_desk(state, LATE);
}

/* Of a question that lies on the desk; NULL: there is none, and desk.why says why. */
static char *await_answer(int64_t until)
{
    wake_all();
    wait_for_gil(ASKED, until);
    if (give_up(ASKED, park_now() < until ? gil_kept : "the GIL goes round among the other threads"))
        return NULL;
    wait_while(TAKEN, park_now() + ANSWER_SECONDS * PARK_SECOND);
    if (give_up(TAKEN, "the thread that answers with Python has come to no end"))
        return NULL;
    char *answer = desk.answer;
    desk.why = "Python could not make an answer";
    set_desk(FREE);
    return answer;
}

/* The answer of Python; NULL: there is none, and desk.why says why. */
static char *ask_python(const char *question)
{
    int64_t until = park_now() + GIL_SECONDS * PARK_SECOND;

    if (atomic_load(&desk.state) == LATE && !(desk.kept && listens.answers->turns() == desk.turns))
        wait_for_gil(LATE, until); /* the answerer may be about to drop its answer, as when a user tries again */
    int state = atomic_load(&desk.state);
    if (atomic_load(&listens.closing))
        desk.why = "the program is ending";
    else if (state == PAUSED)
        desk.why = "the process is forking";
    else if (state == FREE && (desk.question = strdup(question))) {
        if (move_desk(FREE, ASKED))
            return await_answer(until);
        free(desk.question); /* the desk has just been closed */
    }
    return NULL;
}

static int is_owner(int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && (who.uid == listens.owner || who.uid == geteuid());
}

/* Reads a line, without its end; 0: none has come. */
static int read_question(int fd, char *into, size_t capacity)
{
    int64_t until = park_now() + QUESTION_SECONDS * PARK_SECOND;
    size_t length = 0;
    ssize_t n;

    while (length < capacity - 1 && park_now() < until && (n = recv(fd, into + length, capacity - 1 - length, 0)) > 0) {
        length += (size_t)n;
        char *end = memchr(into, '\n', length);
        if (end) {
            *end = 0;
            return 1;
        }
    }
    return 0;
}

static void send_text(int fd, const char *text)
{
    int64_t until = park_now() + SEND_SECONDS * PARK_SECOND;
    ssize_t n;

    for (size_t left = strlen(text); left && park_now() < until && (n = send(fd, text, left, MSG_NOSIGNAL)) > 0; left -= (size_t)n)
        text += n;
}

static void serve_client(int fd)
{
    struct timeval to_ask = {.tv_sec = QUESTION_SECONDS}, to_take = {.tv_sec = SEND_SECONDS};
    char question[LONGEST_QUESTION];

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &to_ask, sizeof to_ask);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &to_take, sizeof to_take);
    if (!read_question(fd, question, sizeof question)) /* before a refusal: what is left unread resets the connection */
        return;
    if (!is_owner(fd)) {
        send_text(fd, "{\"error\": \"only the user who runs this process may ask\"}\n");
        return;
    }
    char *answer = ask_python(question);
    if (!answer)
        answer = listens.answers->seen(desk.why);
    if (answer)
        send_text(fd, answer);
    free(answer);
}

/* A process in another container may have this number and share the folder. */
static int is_anothers(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), found;

    found = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    if (fd >= 0)
        close(fd);
    return found;
}

/* Makes the socket.  -errno if that fails. */
static int open_socket(void)
{
    if (is_anothers(&listens.address))
        return -EADDRINUSE;
    unlink(listens.address.sun_path); /* of an earlier process with this number */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&listens.address, sizeof listens.address) == 0 && listen(fd, QUEUED) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

/* Makes the pipe that ends the listener.  A thread of the program, in whose table it isn't, opens it by the listener's /proc/self/task/TID/fd,
 * which the kernel lets a thread of the same process do, and otherwise only a process that could trace this one (fs/proc/fd.c,
 * proc_fd_permission).  The program may have become another user since: so the pipe itself is open to all. */
static int open_waker(void)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0 || fchmod(ends[0], 0666) != 0)
        return -errno;
    listens.waker = ends[1];
    return ends[0];
}

/* Both; -errno if that fails. */
static int open_both(struct pollfd fds[2])
{
    int error = aside_descriptors();

    if (error)
        return -error;
    for (int i = 0; i < 2; i++)
        if ((fds[i] = (struct pollfd){i ? open_waker() : open_socket(), POLLIN, 0}).fd < 0)
            return fds[i].fd;
    return 0;
}

static void accept_one(int fd)
{
    int client = accept(fd, NULL, NULL);

    if (client < 0) {
        usleep(10000); /* memory or the system's files are short */
        return;
    }
    atomic_store(&listens.serving, 1);
    serve_client(client);
    close(client);
    atomic_store(&listens.serving, 0);
}

static void *listener_main(void *unused)
{
    struct pollfd fds[2];
    char byte;

    prctl(PR_SET_NAME, "lwp-listen");
    atomic_store(&listens.tids[1], gettid());
    int error = open_both(fds);
    atomic_store(&listens.ready, error ? error : 1);
    futex_wake(&listens.ready, 1, PARK_PRIVATE);
    while (!error) {
        poll(fds, 2, -1);
        if (fds[1].revents && read(fds[1].fd, &byte, 1) > 0)
            break;
        if (fds[0].revents)
            accept_one(fds[0].fd);
    }
    return NULL; /* the table of descriptors ends with its only thread */
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

static void end_answerer(void)
{
    set_desk(CLOSED);
    pthread_join(listens.answerer, NULL);
}

/* Its value, once that isn't 0.  A green thread too keeps its LWP meanwhile: it may be about to fork, or in a pending call. */
static int await_word(atomic_int *word)
{
    while (atomic_load(word) == 0)
        futex_wait(word, 0, PARK_FOREVER, PARK_PRIVATE);
    return atomic_load(word);
}

/* 0 or errno. */
static int make_both(void)
{
    atomic_store(&listens.ready, 0);
    atomic_store(&listens.closing, 0);
    atomic_store(&listens.tids[0], 0);
    atomic_store(&desk.state, FREE);
    int error = aside_create(&listens.answerer, NULL, answerer_main);
    if (!error && (error = aside_create(&listens.listener, NULL, listener_main)) != 0)
        end_answerer();
    if (error)
        return error;
    (void)await_word(&listens.tids[0]); /* so that both have the names by which a count of LWPs leaves them out */
    if ((error = -await_word(&listens.ready)) > 0) {
        pthread_join(listens.listener, NULL);
        end_answerer();
        return error;
    }
    listens.pid = getpid();
    return 0;
}

int listen_begin(const char *path, const struct listen_answers *answers)
{
    static atomic_int making; /* the process that has begun to: another thread of it may come meanwhile */
    int before = atomic_load(&making);

    if (listens.pid == getpid() || before == getpid() || !atomic_compare_exchange_strong(&making, &before, getpid()))
        return EALREADY;
    if (strlen(path) >= sizeof listens.address.sun_path)
        return ENAMETOOLONG;
    listens.answers = answers;
    listens.owner = geteuid();
    listens.address.sun_family = AF_UNIX;
    strcpy(listens.address.sun_path, path);
    int error = make_both();
    if (error)
        atomic_store(&making, 0);
    return error;
}

int listen_tid(int which)
{
    return listens.pid == getpid() ? atomic_load(&listens.tids[which]) : 0;
}

/* Closes the desk once it is free.  0: the time was up. */
static int close_desk(int64_t until)
{
    while (!move_desk(FREE, CLOSED)) {
        int state = atomic_load(&desk.state);
        if (state != FREE && futex_wait(&desk.state, state, until, PARK_PRIVATE) == ETIMEDOUT)
            return 0;
    }
    wake_all();
    return 1;
}

/* The answerer is not to come to an interpreter that has ended: PyGILState_Ensure() would end the process. */
void listen_end(void)
{
    if (listens.pid != getpid())
        return;
    unlink(listens.address.sun_path);
    atomic_store(&listens.closing, 1);
    if (close_desk(park_now() + ANSWER_SECONDS * PARK_SECOND))
        pthread_join(listens.answerer, NULL);
}

/* Closing its sockets needs the listener's own table of descriptors, so it is woken.  0 or errno: it goes on. */
static int end_listener(void)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/self/task/%d/fd/%d", atomic_load(&listens.tids[1]), listens.waker);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK), error = fd >= 0 && write(fd, "", 1) == 1 ? 0 : errno;
    if (fd >= 0)
        close(fd);
    if (!error)
        pthread_join(listens.listener, NULL);
    return error;
}

static int count_tasks(void)
{
    struct stat tasks;

    return stat("/proc/self/task", &tasks) == 0 ? (int)tasks.st_nlink - 2 : -1;
}

int listen_may_pause(void)
{
    return listens.pid == getpid() && count_tasks() == 3; /* the caller and the two */
}

/* They stay while somebody is answered: the client may be slow, the answerer may have the GIL. */
int listen_pause(void)
{
    if (!move_desk(FREE, PAUSED))
        return 0;
    if (atomic_load(&listens.serving) || end_listener() != 0) {
        set_desk(FREE);
        return 0;
    }
    end_answerer();
    for (int i = 0; i < 10000 && count_tasks() > 1; i++) /* the kernel counts a task for a while after the join */
        sched_yield();
    listens.pid = 0;
    return 1;
}

void listen_go_on(void)
{
    if (listens.pid == 0)
        make_both();
}
