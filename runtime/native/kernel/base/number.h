/* Numbers in the kernel's and glibc's texts.
 *
 * Not by strtoul or sscanf: with the headers of glibc 2.38 or newer those become other symbols (__isoc23_strtoul; bits/stdlib.h
 * under _GNU_SOURCE), and a module built there would not load on glibc 2.34. */
#ifndef RUNTIME_NUMBER_H
#define RUNTIME_NUMBER_H

#include <stdint.h>

/* Reads the digits at *text in base 10 or 16, and moves *text behind them; 0 if there are none. */
static inline uint64_t number_read(const char **text, unsigned base)
{
    uint64_t value = 0;

    for (;; ++*text) {
        char c = **text;
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : base;
        if (digit >= base)
            return value;
        value = value * base + digit;
    }
}

#endif
