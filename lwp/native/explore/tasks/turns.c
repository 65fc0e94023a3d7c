/* Tasks of asyncio, which share a thread: one goes on at a time, and the next one only when the loop calls the next handle. */
#include "explore/explore.h"

struct explored *explore_task_begins(struct explored *loop)
{
    if (explore_run.count == EXPLORE_THREADS)
        return NULL;
    struct explored *task = &explore_run.threads[explore_run.count];
    *task = (struct explored){.green = loop->green,
                              .index = explore_run.count++,
                              .state = EXPLORED_AT_POINT,
                              .op = {EXPLORE_BEGIN, NULL, explore_has_turn, PARK_FOREVER},
                              .loop = loop};
    explore_run.tasks++;
    explore_choice_thread(task);
    return task;
}

/* Cancellers are not among those that can go on: otherwise tasks that wait for ever were no deadlock. */
static int never_by_itself(const struct explored *any)
{
    return 0;
}

struct explored *explore_canceller(struct explored *task, int by_timeout)
{
    int *number = &task->cancellers[by_timeout];

    if (!*number && explore_run.count == EXPLORE_THREADS)
        return NULL;
    if (!*number) {
        *number = explore_run.count++;
        explore_run.cancellers++;
        explore_run.threads[*number] = (struct explored){.green = task->green,
                                                         .index = *number,
                                                         .state = EXPLORED_AT_POINT,
                                                         .op = {EXPLORE_CANCEL, task, never_by_itself, PARK_FOREVER},
                                                         .loop = task->loop,
                                                         .by_timeout = by_timeout};
    }
    return &explore_run.threads[*number];
}

int explore_may_strike(const struct explored *canceller)
{
    const struct explored *task = canceller->op.object;

    return explore_is_canceller(canceller) && canceller->ready && canceller->loop->turning && task->state == EXPLORED_AT_POINT
           && !explore_run.cancelled;
}

int explore_has_turn(const struct explored *any)
{
    return any->loop->turning && any->ready == EXPLORE_HAS_TURN;
}

int explore_may_be_early(const struct explored *any)
{
    return explore_is_task(any) && any->loop->turning && any->ready == EXPLORE_MAY_BE_EARLY;
}

void explore_turn_comes(struct explored *loop, int front)
{
    loop->turning = 1;
    loop->front = front;
}

int explore_turn_flags(const struct explored *chosen, const struct explored *usual, const struct explored *last)
{
    int in_turn = usual->loop && usual->loop == last->loop;

    return (in_turn ? EXPLORE_IN_TURN : 0) | (explore_may_be_early(chosen) ? EXPLORE_OUT_OF_TURN : 0);
}

void explore_turn_ends(struct explored *loop, int has_ended)
{
    struct explored *me = loop->green->explored;

    if (me == loop)
        return;
    me->op = (struct explore_op){EXPLORE_TURN, NULL, explore_has_turn, PARK_FOREVER};
    me->state = has_ended ? EXPLORED_ENDED : EXPLORED_AT_POINT;
    loop->state = EXPLORED_RUNNING;
    loop->green->explored = loop;
}

void explore_tasks_end(const struct explored *loop)
{
    for (int i = 0; loop->loop && i < explore_run.count; i++)
        if (explore_run.threads[i].loop == loop)
            explore_run.threads[i].state = EXPLORED_ENDED;
}
