/* The run's clock.
 *
 * A clock that stood still while a thread can go on would never let `while monotonic() < end: pass` end, nor a sleep beside a thread that
 * polls.  A clock that goes as a real one would let the machine's speed decide what a run does.  So the clock goes by what threads do, which
 * is the same each time that a schedule is run: a step takes about as long as an operation of a lock, and each look at the clock takes
 * longer than the thread's look before, because a thread that looks for the thousandth time waits for a time to come.
 *
 * It goes to the earliest deadline when no thread can go on, as if nothing else happened meanwhile.  Beside threads that go on it does so
 * too once a run is long: to the end of a sleep if all did not wait for a quarter of the limit, because a thread that polls may wait for
 * what comes after the sleep; to a timeout, which is mostly a safety net, only shortly before the run ends as one that never would.  Past
 * the limit looks take ever longer, so that a loop until a time ends.  A run whose clock has hurried past what is a safety net is marked,
 * because its failure may only say that it is long. */
#include "explore/explore.h"

enum {
    STEP_TAKES = 1000,
    CODE_TAKES = 100,
    LOOK_TAKES = 1000, /* ns */
    LOOKS = 8, /* a look takes LOOK_TAKES longer than the look so many looks ago: n looks take n^2 / 16 us in all */
    IN_A_ROW = 128, /* looks with no operation between them: with files, say, a thread may do much meanwhile that is none */
    DOUBLES = 8, /* after IN_A_ROW looks, each further DOUBLES looks in a row double the time that a look takes */
    LONGEST = 17, /* doublings, at most */
    HURRY = 50, /* steps from one deadline to the next, once the clock hurries */
};

static long limit, hurried_at, rested_at; /* steps; rested: no thread could go on */

void explore_clock_begins(int64_t now, long limit_)
{
    explore_run.now = now;
    limit = limit_;
    hurried_at = rested_at = 0;
    explore_run.hurried = 0;
}

void explore_clock_steps(enum explore_kind kind)
{
    explore_run.now += kind == EXPLORE_CODE ? CODE_TAKES : STEP_TAKES;
}

static int at_most(int doublings)
{
    return doublings < LONGEST ? doublings : LONGEST;
}

/* Past the limit looks take twice as long after each twentieth of it. */
static int hurry_of_looks(void)
{
    long late = explore_run.step - limit;
    return late > 0 ? (int)(late / (limit / 20 + 1)) : 0;
}

int explore_clock_looks(struct explored *me)
{
    int in_a_row = me->looks++;
    int64_t takes = LOOK_TAKES + me->looked++ * LOOK_TAKES / LOOKS;
    int hurry = hurry_of_looks();

    explore_run.hurried |= hurry > 0;
    int doublings = in_a_row < IN_A_ROW ? 0 : (in_a_row - IN_A_ROW) / DOUBLES;
    explore_run.now += takes << at_most(at_most(doublings) + at_most(hurry));
    return in_a_row >= 3 && (in_a_row & (in_a_row + 1)) == 0; /* 4, 8, 16, ... of them */
}

void explore_clock_rests(int64_t until)
{
    rested_at = explore_run.step;
    explore_run.now = until;
}

int explore_clock_hurries(int64_t deadline, int sleeps)
{
    if (explore_run.step < (sleeps ? rested_at + limit / 4 : limit + limit / 2) || explore_run.step < hurried_at + HURRY)
        return 0;
    hurried_at = explore_run.step;
    explore_run.hurried |= !sleeps;
    explore_run.now = deadline;
    return 1;
}
