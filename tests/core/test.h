/* The smallest thing that can be called a test framework: count, say what failed, go on. */
#ifndef CX_TEST_H
#define CX_TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

/* One test: `ok`, and printf words that say which case it was. */
#define CHECK(ok, ...)                                                                             \
  do {                                                                                             \
    if (ok) {                                                                                      \
      passed++;                                                                                    \
    } else {                                                                                       \
      failed++;                                                                                    \
      printf("%s:%d: %s: ", __FILE__, __LINE__, #ok);                                              \
      printf(__VA_ARGS__);                                                                         \
      printf("\n");                                                                                \
    }                                                                                              \
  } while (0)

/* The bytes alone in a block of their own, so that sanitizers see a read beyond them. */
static inline char *exactly(const char *bytes, size_t n) {
  char *copy = malloc(n ? n : 1);
  if (!copy) abort();
  return memcpy(copy, bytes, n);
}

static inline int report(const char *name) {
  printf("%s: %d passed, %d failed\n", name, passed, failed);
  return failed > 0;
}

#endif
