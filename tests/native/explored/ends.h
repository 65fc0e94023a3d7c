#ifndef EXPLORED_ENDS_H
#define EXPLORED_ENDS_H

struct lwp;
enum end { END_LWP, END_GREEN, END_EXPLORED, END_COUNTED };

void end_begin(struct lwp *lwp);
void end_as(struct lwp *lwp, enum end how);

#endif
