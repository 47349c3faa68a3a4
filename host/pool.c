/* Memory for a Lua state; see pool.h. */
#include "pool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "platform.h"

enum { PIECE = 64 << 10 }; /* a page that is mapped and not used costs 2 us of a start */

/* Sanitizers see what becomes of every block by itself. */
#ifdef __SANITIZE_ADDRESS__
enum { POOLED = 0 };
#else
enum { POOLED = 1 };
#endif

static bool is_small(size_t size) { return POOLED && size <= CX_POOL_LARGEST; }
static size_t index_of(size_t size) { return (size - 1) / CX_POOL_STEP; }

static void *cut(cx_pool *pool, size_t size) {
  if (pool->left < size) {
    void **piece = cx__map(PIECE);
    if (!piece) return NULL;
    *piece = pool->pieces; /* what was left of the one before is lost: less than a block */
    pool->pieces = piece;
    pool->next = (char *)piece + CX_POOL_STEP;
    pool->left = PIECE - CX_POOL_STEP;
  }
  void *block = pool->next;
  pool->next += size;
  pool->left -= size;
  return block;
}

static void *take(cx_pool *pool, size_t size) {
  if (!is_small(size)) return malloc(size);
  size_t i = index_of(size);
  void **block = pool->free[i];
  if (!block) return cut(pool, (i + 1) * CX_POOL_STEP);
  pool->free[i] = *block;
  return block;
}

static void give(cx_pool *pool, void *block, size_t size) {
  if (!is_small(size)) {
    free(block);
    return;
  }
  size_t i = index_of(size);
  *(void **)block = pool->free[i];
  pool->free[i] = block;
}

/* Between a small and a large size, or two small ones. A large block must not get a small size: it
 * is none of the pool's. */
static void *move(cx_pool *pool, void *block, size_t old, size_t size) {
  void *other = take(pool, size);
  if (!other) return size < old && is_small(old) ? block : NULL;
  memcpy(other, block, old < size ? old : size);
  give(pool, block, old);
  return other;
}

void *cx_pool_resize(cx_pool *pool, void *block, size_t old, size_t size) {
  if (size == 0) {
    if (block) give(pool, block, old);
    return NULL;
  }
  if (!block) return take(pool, size);
  if (!is_small(old) && !is_small(size)) return realloc(block, size);
  if (is_small(old) && is_small(size) && index_of(old) == index_of(size)) return block;
  return move(pool, block, old, size);
}

void cx_pool_free(cx_pool *pool) {
  for (void **piece = pool->pieces, **next; piece; piece = next) {
    next = *piece;
    munmap(piece, PIECE);
  }
  memset(pool, 0, sizeof *pool);
}
