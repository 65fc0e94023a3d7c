#include "waits/any.h"

#include <errno.h>
#include <sys/eventfd.h>

void sync_any_wake_shared(struct sync_any *any)
{
    atomic_store(&any->word, SYNC_WOKEN);
    park_wake(&any->word, 1, PARK_SHARED);
}

void sync_any_wake_fd(struct sync_any *any)
{
    int saved = errno;

    atomic_store(&any->word, SYNC_WOKEN);
    eventfd_write(any->fd, 1);
    errno = saved;
}

void sync_any_poke(struct sync_any *any)
{
    int asleep = SYNC_ASLEEP;

    if (atomic_compare_exchange_strong(&any->word, &asleep, SYNC_POKED))
        park_wake_greens(&any->word, 1);
}
