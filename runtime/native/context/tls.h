/* A thread's TLS: context_blank() and context_load_tls() of context.h, and its end. */
#ifndef RUNTIME_TLS_H
#define RUNTIME_TLS_H

#include "context/context.h"

/* Frees the blocks that __tls_get_addr has allocated for the context's thread, which is gone. */
void tls_free_dynamic(struct context *context);

#endif
