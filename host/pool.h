/* Memory for a Lua state: small blocks from large pieces.
 *
 * Half of what starting costs is Lua's small objects, and Lua says with every block how large it
 * is: nothing has to be kept beside the block, and a freed one is the next of its size. Pieces are
 * given back together, at the end. */
#ifndef CX_POOL_H
#define CX_POOL_H

#include <stddef.h>

/* Small blocks have 16, 32, ... 256 bytes. */
enum { CX_POOL_STEP = 16, CX_POOL_SIZES = 16, CX_POOL_LARGEST = CX_POOL_STEP * CX_POOL_SIZES };

/* All zero is an empty pool. */
typedef struct cx_pool {
  void *free[CX_POOL_SIZES];
  void *pieces;
  char *next; /* what is left of the newest piece */
  size_t left;
} cx_pool;

/* Like realloc() and free(), but told how large the block is (0: there is none yet). NULL without
 * memory, where the block stays as it is; making one smaller never fails. */
void *cx_pool_resize(cx_pool *pool, void *block, size_t old, size_t size);

/* Gives all small blocks back. Large ones are the caller's. */
void cx_pool_free(cx_pool *pool);

#endif
