/* Found before the compiler's own: each atomic operation comes to a point of the explorer first. */
#ifndef EXPLORED_STDATOMIC_H
#define EXPLORED_STDATOMIC_H

#include_next <stdatomic.h>
#include "points.h"

#define TEXT_OF(line) #line
#define LINE(line) TEXT_OF(line)
#define AT_POINT(does, writes, at, operation)                                                            \
    __extension__({                                                                                      \
        static struct point_site site_ = {does, __FILE__ ":" LINE(__LINE__), #at, writes, sizeof *(at)}; \
        point_before(&site_, (const volatile void *)(at)), (operation);                                  \
    })

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak
#undef atomic_fetch_add
#undef atomic_fetch_sub

/* One thread runs at a time, so every order is the sequentially consistent one. */
#define atomic_load(at) AT_POINT("load", 0, at, __atomic_load_n(at, __ATOMIC_SEQ_CST))
#define atomic_store(at, value) AT_POINT("store", 1, at, __atomic_store_n(at, value, __ATOMIC_SEQ_CST))
#define atomic_exchange(at, value) AT_POINT("exchange", 1, at, __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST))
#define atomic_compare_exchange_strong(at, seen, value) \
    AT_POINT("compare_exchange", 1, at, __atomic_compare_exchange_n(at, seen, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define atomic_fetch_add(at, value) AT_POINT("fetch_add", 1, at, __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST))
#define atomic_fetch_sub(at, value) AT_POINT("fetch_sub", 1, at, __atomic_fetch_sub(at, value, __ATOMIC_SEQ_CST))

#define atomic_load_explicit(at, order) atomic_load(at)
#define atomic_store_explicit(at, value, order) atomic_store(at, value)
#define atomic_exchange_explicit(at, value, order) atomic_exchange(at, value)
#define atomic_compare_exchange_strong_explicit(at, seen, value, yes, no) atomic_compare_exchange_strong(at, seen, value)
#define atomic_compare_exchange_weak_explicit(at, seen, value, yes, no) atomic_compare_exchange_strong(at, seen, value)
#define atomic_compare_exchange_weak(at, seen, value) atomic_compare_exchange_strong(at, seen, value)
#define atomic_fetch_add_explicit(at, value, order) atomic_fetch_add(at, value)
#define atomic_fetch_sub_explicit(at, value, order) atomic_fetch_sub(at, value)

#endif
