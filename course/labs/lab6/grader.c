/* Grades green threads: `grader NAME` runs a test, and says what is wrong. */
#define _GNU_SOURCE
#include "green.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

long switches;

#define CHECK(claim)                                                     \
    do {                                                                 \
        if (!(claim)) {                                                  \
            printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
            exit(1);                                                     \
        }                                                                \
    } while (0)

static char said[64];

static void say(const char *what)
{
    strcat(said, what);
}

/* ---- turns ---- */

static void take_turns(void *name)
{
    for (int n = 0; n < 3; n++) {
        say(name);
        green_yield();
    }
}

static void turns(void)
{
    struct green *a = green_spawn(take_turns, "a"), *b = green_spawn(take_turns, "b");

    CHECK(!*said);
    CHECK(green_join(a) == 0);
    CHECK(green_join(b) == 0);
    CHECK(!strcmp(said, "ababab"));
}

/* ---- variables of its own ---- */

static __thread int number = 42;

static void change(void *argument)
{
    char text[16];

    for (int n = 0; n < 3; n++) {
        CHECK(number == 42 + n);
        number++;
        errno = *(int *)argument;
        snprintf(text, sizeof text, "%.2f", n + 0.25); /* needs a stack that begins at a multiple of 16 */
        CHECK(text[0] == '0' + n && !strcmp(text + 1, ".25"));
        green_yield();
        CHECK(errno == *(int *)argument);
    }
}

static void variables(void)
{
    int errors[] = {EAGAIN, EPIPE};
    struct green *a = green_spawn(change, &errors[0]), *b = green_spawn(change, &errors[1]);

    errno = 0;
    CHECK(green_join(a) == 0);
    CHECK(green_join(b) == 0);
    CHECK(number == 42 && errno == 0);
}

/* ---- sleeping ---- */

static void yield_often(void *argument)
{
    (void)argument;
    for (int n = 0; n < 1000; n++)
        green_yield();
}

static void a_join_sleeps(void)
{
    CHECK(green_join(green_spawn(yield_often, NULL)) == 0);
    CHECK(switches <= 2); /* there and back; otherwise one thread alone can run */
}

static struct semaphore ping, pong, never;

static void wait_for_ever(void *argument)
{
    (void)argument;
    CHECK(green_down(&never) == 0);
}

static void answer(void *argument)
{
    (void)argument;
    for (int n = 0; n < 1000; n++) {
        CHECK(green_down(&ping) == 0);
        green_up(&pong);
    }
}

static void a_wait_sleeps(void)
{
    struct green *waits[100], *answers = green_spawn(answer, NULL);

    for (int n = 0; n < 100; n++)
        waits[n] = green_spawn(wait_for_ever, NULL);
    for (int n = 0; n < 1000; n++) {
        green_up(&ping);
        CHECK(green_down(&pong) == 0);
    }
    for (int n = 0; n < 100; n++)
        green_up(&never);
    CHECK(green_join(answers) == 0);
    for (int n = 0; n < 100; n++)
        CHECK(green_join(waits[n]) == 0);
    CHECK(switches <= 2 * 1000 + 4 * 100);
}

/* ---- semaphores ---- */

static void down_and_say(void *name)
{
    CHECK(green_down(&ping) == 0);
    say(name);
}

static void the_first_is_woken_first(void)
{
    struct green *threads[3];

    for (int n = 0; n < 3; n++)
        threads[n] = green_spawn(down_and_say, (char *[]){"a", "b", "c"}[n]);
    green_yield();
    green_up(&ping);
    CHECK(!*said); /* green_up() has gone on itself */
    green_yield();
    CHECK(!strcmp(said, "a"));
    for (int n = 0; n < 4; n++)
        green_up(&ping);
    for (int n = 0; n < 3; n++)
        CHECK(green_join(threads[n]) == 0);
    CHECK(!strcmp(said, "abc"));
    CHECK(green_down(&ping) == 0); /* two were not needed */
    CHECK(green_down(&ping) == 0);
}

static void is_told(void *argument)
{
    (void)argument;
    CHECK(green_down(&never) == EDEADLK); /* main sleeps in its join */
    say("told");
}

static void a_deadlock_is_told(void)
{
    CHECK(green_down(&never) == EDEADLK);
    CHECK(green_join(green_spawn(is_told, NULL)) == 0);
    CHECK(!strcmp(said, "told"));
    green_up(&never); /* there is no thread that waits for it any more */
    CHECK(never.count == 1);
    CHECK(green_down(&never) == 0);
}

/* ---- memory ---- */

static void nothing(void *argument)
{
    (void)argument;
}

static long pages(void)
{
    long found;
    FILE *file = fopen("/proc/self/statm", "r");

    CHECK(file && fscanf(file, "%ld", &found) == 1);
    fclose(file);
    return found;
}

static void memory_is_given_back(void)
{
    CHECK(green_join(green_spawn(nothing, NULL)) == 0);
    long before = pages();
    for (int n = 0; n < 1000; n++)
        CHECK(green_join(green_spawn(nothing, NULL)) == 0);
    CHECK(pages() - before < 100);
}

static void use(size_t bytes)
{
    volatile char frame[bytes];

    for (size_t left = bytes; left >= 512; left -= 512)
        frame[left - 1] = 0;
    (void)frame[0];
}

static void use_more(void *argument)
{
    use(GREEN_STACK + 16 * 1024);
    (void)argument;
}

static void use_most(void *argument)
{
    use(GREEN_STACK / 2);
    (void)argument;
}

static void a_stack_has_a_guard(void)
{
    int status;

    CHECK(green_join(green_spawn(use_most, NULL)) == 0);
    if (fork() == 0) {
        struct green *first = green_spawn(use_more, NULL); /* the next mapping is below, mostly */
        green_spawn(nothing, NULL);
        green_join(first);
        _exit(0);
    }
    CHECK(wait(&status) > 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"turns", turns},
    {"variables", variables},
    {"a_join_sleeps", a_join_sleeps},
    {"a_wait_sleeps", a_wait_sleeps},
    {"the_first_is_woken_first", the_first_is_woken_first},
    {"a_deadlock_is_told", a_deadlock_is_told},
    {"memory_is_given_back", memory_is_given_back},
    {"a_stack_has_a_guard", a_stack_has_a_guard},
};

int main(int count, char **arguments)
{
    struct itimerval limit = {.it_value.tv_sec = 2}; /* of the processor's time, then SIGVTALRM */

    setitimer(ITIMER_VIRTUAL, &limit, NULL);
    for (size_t n = 0; n < sizeof tests / sizeof *tests; n++)
        if (count == 2 && !strcmp(arguments[1], tests[n].name)) {
            tests[n].run();
            return 0;
        }
    printf("there is no such test\n");
    return 2;
}
