/* One loop inside another: the host's loop is turned whenever the caller's loop finds that it has
 * something to do. The two share no handle, so that neither can close the other's. */
#ifndef CX_ATTACH_H
#define CX_ATTACH_H

#include <uv.h>

typedef struct cx_attach cx_attach;

/* `turn` is to turn the inner loop without waiting, and may end all this. 0, CX_EMEMORY or a uv
 * code. The outer loop stays alive as long as the inner one is. */
int cx_attach_open(cx_attach **out, uv_loop_t *outer, uv_loop_t *inner, void (*turn)(void *user),
                   void *user);

/* Has the inner loop turned soon, although it may have nothing to do. */
void cx_attach_wake(cx_attach *attach);

/* Ends it; its handles close on the next turns of the outer loop, and free it then. */
void cx_attach_close(cx_attach *attach);

#endif
