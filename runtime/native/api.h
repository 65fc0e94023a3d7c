/* What the tools' shared object, lwp.native._tools, uses of this one: each declaration that begins with API.
 *
 * All other names are hidden (-fvisibility=hidden): a call of them needs no table, and nothing outside of this object depends on them.
 * The tools' object is linked against this one as against any library.  So both are of one build: tools and core share structures, and
 * each says at import if the other is not the one that it was compiled with.  tools/layers.py counts the names, and fails if one is marked
 * that no tool uses. */
#ifndef RUNTIME_API_H
#define RUNTIME_API_H

#define API __attribute__((visibility("default")))

#endif
