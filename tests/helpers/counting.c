/* Under callgrind: what lies between the two calls is written to a file of its own, with the name in it. */
#include <valgrind/callgrind.h>

void count_from_here(void)
{
    CALLGRIND_ZERO_STATS;
}

void count_to_here(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}
