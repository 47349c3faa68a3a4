/* The pool: blocks made, resized and freed at random keep what is in them, and small ones that were
 * freed are used again. */
#include "pool.h"

#include <stdint.h>
#include <sys/resource.h>

#include "test.h"

enum { BLOCKS = 500, ROUNDS = 200000 };

static struct {
  unsigned char *bytes;
  size_t size;
  unsigned char mark;
} blocks[BLOCKS];

static uint32_t seed = 1;

static uint32_t any(uint32_t below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % below;
}

/* Mostly small ones, as Lua's are. */
static size_t any_size(void) { return any(8) ? any(300) : any(5000); }

static bool holds(const unsigned char *bytes, size_t n, unsigned char mark) {
  for (size_t i = 0; i < n; i++)
    if (bytes[i] != mark) return false;
  return true;
}

static void test_random(void) {
  cx_pool pool = {0};
  size_t lost = 0;
  for (int round = 0; round < ROUNDS; round++) {
    size_t i = any(BLOCKS), size = any_size(), kept = blocks[i].size;
    if (size < kept) kept = size;
    blocks[i].bytes = cx_pool_resize(&pool, blocks[i].bytes, blocks[i].size, size);
    if ((size > 0) != (blocks[i].bytes != NULL)) abort();
    if (!holds(blocks[i].bytes, kept, blocks[i].mark)) lost++;
    blocks[i].size = size;
    blocks[i].mark = (unsigned char)round;
    if (size) memset(blocks[i].bytes, blocks[i].mark, size);
  }
  CHECK(lost == 0, "%zu blocks", lost);
  for (size_t i = 0; i < BLOCKS; i++) cx_pool_resize(&pool, blocks[i].bytes, blocks[i].size, 0);
  cx_pool_free(&pool);
}

/* A million small blocks, one after the other, need no more memory than one. */
static void test_reuse(void) {
  cx_pool pool = {0};
  for (size_t size = 1; size <= CX_POOL_LARGEST; size++)
    for (int i = 0; i < 4000; i++)
      cx_pool_resize(&pool, cx_pool_resize(&pool, NULL, 0, size), size, 0);
  void *const *piece = pool.pieces;
  CHECK(!piece || !*piece, "more than one piece");
  cx_pool_free(&pool);
  CHECK(!pool.pieces && !pool.left, "an empty pool");
}

/* Where no memory is left, a large block stays what it is: as a small one nobody would free it. */
static void test_full(void) {
#ifndef __SANITIZE_ADDRESS__
  enum { LARGE = 1 << 20, UNIT = 1 << 10 };
  if (getenv("CX_SLOW")) return; /* valgrind needs memory, too */
  cx_pool pool = {0};
  struct rlimit before, none;
  void **taken = NULL, **unit, *block = cx_pool_resize(&pool, NULL, 0, LARGE);
  getrlimit(RLIMIT_AS, &before);
  none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_AS, &none);
  for (; (unit = malloc(UNIT)); taken = unit) *unit = taken;
  CHECK(!cx_pool_resize(&pool, block, LARGE, 100), "a large block of a small size");
  setrlimit(RLIMIT_AS, &before);
  for (; taken; taken = unit) {
    unit = *taken;
    free(taken);
  }
  cx_pool_resize(&pool, block, LARGE, 0);
  cx_pool_free(&pool);
#endif
}

int main(void) {
  test_random();
  test_reuse();
  test_full();
  return report("pool_test");
}
