#include "python/observe/locks/stacks.h"

#include "python/reading/sites.h"

enum { HASHES = 1 << 12 };

uint64_t stacks_lost, stacks_cut;
static struct stack *hashes[HASHES];
static int count;

/* xorshift64 (Marsaglia, Xorshift RNGs, 2003). */
static uint64_t next_random(void)
{
    static uint64_t random = 0x9e3779b97f4a7c15;

    random ^= random << 13;
    random ^= random >> 7;
    return random ^= random << 17;
}

static uint64_t hash_of(const uint32_t *lines, int depth, uint64_t hash)
{
    for (int i = 0; i < depth; i++)
        hash = (hash ^ lines[i]) * 0x9e3779b97f4a7c15 ^ hash >> 29;
    return hash;
}

static struct stack *find_stack(uint64_t hash, enum stack_of of, const struct delays *row, const uint32_t *lines, int depth)
{
    struct stack *stack = hashes[hash % HASHES];

    while (stack
           && (stack->hash != hash || stack->of != of || stack->object != row->object || stack->type != row->type
               || stack->site != row->site || stack->depth != depth || memcmp(stack->lines, lines, (size_t)depth * sizeof *lines) != 0))
        stack = stack->next;
    return stack;
}

static struct stack *make_stack(uint64_t hash, enum stack_of of, const struct delays *row, const uint32_t *lines, int depth)
{
    struct stack *stack = count < STACKS_MOST ? PyMem_RawMalloc(sizeof *stack + (size_t)depth * sizeof *lines) : NULL;

    if (!stack)
        return NULL;
    *stack = (struct stack){hashes[hash % HASHES], hash, row->object, (PyTypeObject *)Py_NewRef(row->type), row->site, of, 0, 0, depth};
    memcpy(stack->lines, lines, (size_t)depth * sizeof *lines);
    count++;
    return hashes[hash % HASHES] = stack;
}

void stacks_count(enum stack_of of, const struct delays *row, int64_t ns)
{
    uint32_t lines[STACKS_DEEPEST];

    if (ns < STACKS_RATE && (int64_t)(next_random() % STACKS_RATE) >= ns)
        return;
    int depth = site_stack(lines, STACKS_DEEPEST);
    if (depth > STACKS_DEEPEST) {
        stacks_cut++;
        depth = STACKS_DEEPEST;
    }
    uint64_t hash = hash_of(lines, depth, (uint64_t)(uintptr_t)row->object ^ (uintptr_t)row->type ^ (uint64_t)of << 60 ^ row->site);
    struct stack *stack = find_stack(hash, of, row, lines, depth);
    if (!stack && !(stack = make_stack(hash, of, row, lines, depth))) {
        stacks_lost++;
        return;
    }
    stack->count += ns < STACKS_RATE ? (double)STACKS_RATE / (double)(ns ? ns : 1) : 1;
    stack->ns += ns < STACKS_RATE ? STACKS_RATE : ns;
}

void stacks_each(void (*call)(const struct stack *stack, void *arg), void *arg)
{
    for (int i = 0; i < HASHES; i++)
        for (const struct stack *stack = hashes[i]; stack; stack = stack->next)
            call(stack, arg);
}

struct stack *stacks_take(void)
{
    struct stack *all = NULL, *stack;

    for (int i = 0; i < HASHES; i++)
        while ((stack = hashes[i])) {
            hashes[i] = stack->next;
            stack->next = all;
            all = stack;
        }
    count = 0;
    stacks_lost = stacks_cut = 0;
    return all;
}

void stacks_free(struct stack *all)
{
    for (struct stack *next; all; all = next) {
        next = all->next;
        Py_DECREF(all->type);
        PyMem_RawFree(all);
    }
}
