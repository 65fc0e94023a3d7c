/* The end of a thread's TLS.  Its beginning, in the same file, is context_blank() and context_load_tls() of context.h. */
#ifndef RUNTIME_TLS_H
#define RUNTIME_TLS_H

#include "kernel/context/context.h"

/* Frees the blocks that __tls_get_addr has allocated for the context's thread, which must be gone: it would use them. */
void tls_free_dynamic(struct context *context);

#endif
