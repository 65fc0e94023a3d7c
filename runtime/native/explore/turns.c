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

int explore_has_turn(const struct explored *any)
{
    return any->loop->turning && any->ready;
}

void explore_turn_comes(struct explored *loop, int front)
{
    loop->turning = 1;
    loop->front = front;
}

int explore_turn_flags(const struct explored *chosen, const struct explored *usual, const struct explored *last)
{
    int in_turn = usual->loop && usual->loop == last->loop;
    int out_of_turn = chosen->loop && chosen->loop->turning && chosen->index != chosen->loop->front;

    return (in_turn ? EXPLORE_IN_TURN : 0) | (out_of_turn ? EXPLORE_OUT_OF_TURN : 0);
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
