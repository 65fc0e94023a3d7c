/* The kernel's price of a fork, a vfork, a process in our memory and a thread, without an interpreter. */
#ifndef RUNTIME_COST_H
#define RUNTIME_COST_H

#include <stdint.h>

enum cost_kind { COST_FORK, COST_VFORK, COST_CLONE_VM, COST_THREAD };

/* Makes one of these, waits for its end, and returns the nanoseconds that this took, or -errno. */
int64_t cost_once(int kind);

#endif
