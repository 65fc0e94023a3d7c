/* Grades values of threads: `grader NAME` runs a test, and says what is wrong. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "keys.h"

#define CHECK(claim)                                                     \
    do {                                                                 \
        if (!(claim)) {                                                  \
            printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
            exit(1);                                                     \
        }                                                                \
    } while (0)

/* Runs it in a thread, until that has ended. */
static void in_a_thread(void *(*work)(void *))
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static unsigned one, two;
static int called;
static __thread int mine; /* to tell threads apart */

/* ---- values ---- */

static void *has_another(void *argument)
{
    CHECK(key_get(one) == NULL);
    CHECK(key_set(one, &mine) == 0);
    CHECK(key_get(one) == &mine);
    CHECK(key_get(two) == NULL);
    return argument;
}

static void each_thread_has_its_own(void)
{
    CHECK(key_create(&one, NULL) == 0);
    CHECK(key_create(&two, NULL) == 0);
    CHECK(one != two && one < KEYS && two < KEYS);
    CHECK(key_get(one) == NULL);
    CHECK(key_set(one, &one) == 0);
    in_a_thread(has_another);
    CHECK(key_get(one) == &one);
    CHECK(key_get(two) == NULL);
}

static void there_are_so_many(void)
{
    unsigned key, keys[KEYS];

    CHECK(key_get(0) == NULL && key_set(0, &key) == EINVAL && key_delete(0) == EINVAL);
    CHECK(key_get(KEYS) == NULL && key_set(KEYS, &key) == EINVAL && key_delete(KEYS) == EINVAL);
    for (int n = 0; n < KEYS; n++)
        CHECK(key_create(&keys[n], NULL) == 0);
    CHECK(key_create(&key, NULL) == EAGAIN);
    CHECK(key_delete(keys[7]) == 0);
    CHECK(key_delete(keys[7]) == EINVAL);
    CHECK(key_set(keys[7], &key) == EINVAL);
    CHECK(key_create(&key, NULL) == 0);
    CHECK(key == keys[7]);
    CHECK(key_create(&key, NULL) == EAGAIN);
}

/* ---- the end ---- */

static void is_mine(void *value)
{
    called++;
    CHECK(value == &mine); /* as in the thread that set it */
    CHECK(key_get(one) == NULL);
}

static void *sets_both(void *argument)
{
    CHECK(key_set(one, &mine) == 0);
    CHECK(key_set(two, &mine) == 0); /* it has no destructor */
    return argument;
}

static void *sets_nothing(void *argument)
{
    CHECK(key_set(one, &mine) == 0);
    CHECK(key_set(one, NULL) == 0);
    return argument;
}

static void destructors_run_in_the_thread(void)
{
    CHECK(key_create(&one, is_mine) == 0);
    CHECK(key_create(&two, NULL) == 0);
    in_a_thread(sets_both);
    CHECK(called == 1);
    in_a_thread(sets_nothing);
    CHECK(called == 1);
}

static void sets_the_first(void *value)
{
    CHECK(key_set(one, value) == 0); /* whose turn is over in this round */
}

static void *sets_the_second(void *argument)
{
    CHECK(key_set(two, &mine) == 0);
    return argument;
}

static void a_destructor_sets_a_value(void)
{
    CHECK(key_create(&one, is_mine) == 0);
    CHECK(key_create(&two, sets_the_first) == 0);
    in_a_thread(sets_the_second);
    CHECK(called == 1);
}

static void again(void *value)
{
    called++;
    CHECK(key_set(one, value) == 0);
}

static void *sets_the_first_key(void *argument)
{
    CHECK(key_set(one, &mine) == 0);
    return argument;
}

static void it_ends(void)
{
    CHECK(key_create(&one, again) == 0);
    in_a_thread(sets_the_first_key);
    CHECK(called == ROUNDS);
}

static void makes_a_key(void *value)
{
    unsigned key;

    called++;
    CHECK(value == &mine);
    CHECK(key_create(&key, NULL) == 0);
    CHECK(key_delete(key) == 0);
}

static void a_destructor_makes_a_key(void)
{
    CHECK(key_create(&one, makes_a_key) == 0);
    in_a_thread(sets_the_first_key);
    CHECK(called == 1);
}

static void *deletes_its_key(void *argument)
{
    CHECK(key_set(one, &mine) == 0);
    CHECK(key_delete(one) == 0);
    CHECK(key_get(one) == NULL);
    return argument;
}

static void *makes_it_anew(void *argument)
{
    deletes_its_key(NULL);
    CHECK(key_create(&two, is_mine) == 0);
    CHECK(two == one);
    CHECK(key_get(two) == NULL);
    return argument;
}

static void a_deleted_key_has_no_values(void)
{
    CHECK(key_create(&one, is_mine) == 0);
    in_a_thread(deletes_its_key);
    CHECK(called == 0);
    CHECK(key_create(&one, is_mine) == 0);
    in_a_thread(makes_it_anew);
    CHECK(called == 0); /* the value was of the key before */
}

/* ---- several threads; the thread sanitizer looks at this one ---- */

static void *makes_and_deletes(void *argument)
{
    unsigned key;

    for (int n = 0; n < 100; n++) {
        CHECK(key_create(&key, is_mine) == 0);
        CHECK(key_get(key) == NULL);
        CHECK(key_set(key, &mine) == 0);
        CHECK(key_get(key) == &mine);
        CHECK(key_delete(key) == 0);
    }
    return argument;
}

static void threads_make_keys(void)
{
    pthread_t threads[4];

    for (int n = 0; n < 4; n++)
        CHECK(pthread_create(&threads[n], NULL, makes_and_deletes, NULL) == 0);
    for (int n = 0; n < 4; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(called == 0);
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"each_thread_has_its_own", each_thread_has_its_own},
    {"there_are_so_many", there_are_so_many},
    {"destructors_run_in_the_thread", destructors_run_in_the_thread},
    {"a_destructor_sets_a_value", a_destructor_sets_a_value},
    {"it_ends", it_ends},
    {"a_destructor_makes_a_key", a_destructor_makes_a_key},
    {"a_deleted_key_has_no_values", a_deleted_key_has_no_values},
    {"threads_make_keys", threads_make_keys},
};

int main(int count, char **arguments)
{
    struct itimerval limit = {.it_value.tv_sec = 2}; /* of the processor's time, then SIGVTALRM */

    setitimer(ITIMER_VIRTUAL, &limit, NULL);
    alarm(5); /* then SIGALRM: a thread waits for itself */
    for (size_t n = 0; n < sizeof tests / sizeof *tests; n++)
        if (count == 2 && !strcmp(arguments[1], tests[n].name)) {
            tests[n].run();
            return 0;
        }
    printf("there is no such test\n");
    return 2;
}
