/* Growable bytes and tails. */
#include "buf.h"

#include <stdint.h>

#include "err.h"
#include "test.h"

static bool holds(const cx_buf *buf, const char *text) {
  return buf->len == strlen(text) && memcmp(cx_buf_bytes(buf), text, buf->len) == 0;
}

static void test_buf(void) {
  cx_buf buf = {0};
  CHECK(cx_buf_bytes(&buf) != NULL, "an empty buffer has bytes to point at");
  CHECK(cx_buf_add(&buf, NULL, 0) == 0 && buf.cap == 0, "adding nothing takes no memory");
  cx_buf_add_string(&buf, "hello ");
  cx_buf_add(&buf, "world", 5);
  CHECK(holds(&buf, "hello world"), "what was added");
  cx_buf_drop(&buf, 6);
  CHECK(holds(&buf, "world"), "the front is gone");
  cx_buf_add(&buf, "!", 1);
  CHECK(holds(&buf, "world!"), "adding after a drop");
  cx_buf_drop(&buf, 100);
  CHECK(holds(&buf, "") && buf.start == 0, "dropping more than there is");
  CHECK(cx_buf_room(&buf, SIZE_MAX) == NULL, "room for everything there is");
  cx_buf_add(&buf, "x", 1);
  CHECK(cx_buf_room(&buf, SIZE_MAX) == NULL && holds(&buf, "x"), "and nothing was lost by asking");
  cx_buf_free(&buf);
  CHECK(cx_buf_add(&buf, "again", 5) == 0 && holds(&buf, "again"), "usable after free");
  cx_buf_free(&buf);
}

/* A queue of bytes: what goes in comes out in order whatever the sizes, and waste is bounded. */
static void test_queue(size_t in, size_t out, size_t keep) {
  cx_buf buf = {0};
  unsigned char next_in = 0, next_out = 0;
  bool same = true;
  size_t largest = 0;
  for (int round = 0; round < 20000; round++) {
    char *room = cx_buf_room(&buf, in);
    if (!room) abort();
    for (size_t i = 0; i < in; i++) room[i] = (char)next_in++;
    cx_buf_added(&buf, in);
    while (buf.len >= keep + out) {
      for (size_t i = 0; i < out; i++)
        same = same && (unsigned char)cx_buf_bytes(&buf)[i] == next_out++;
      cx_buf_drop(&buf, out);
    }
    if (buf.cap > largest) largest = buf.cap;
  }
  CHECK(same, "in %zu, out %zu: the order", in, out);
  CHECK(largest <= 8 * (keep + in + out) + 256, "in %zu, out %zu: %zu bytes", in, out, largest);
  cx_buf_free(&buf);
}

static const struct {
  size_t limit;
  const char *pieces[4], *expected;
  size_t lost;
} tails[] = {
    {4, {"ab", NULL}, "ab", 0},
    {4, {"abcd", NULL}, "abcd", 0},
    {4, {"abcde", NULL}, "bcde", 1},
    {4, {"ab", "cd", "ef", NULL}, "cdef", 2},
    {4, {"ab", "0123456789", NULL}, "6789", 8},
    {4, {"0123456789", "ab", NULL}, "89ab", 8},
    {1, {"x", "y", "z", NULL}, "z", 2},
};

static void test_tail(void) {
  for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
    cx_tail tail = {.limit = tails[i].limit};
    for (const char *const *piece = tails[i].pieces; *piece; piece++)
      cx_tail_add(&tail, *piece, strlen(*piece));
    CHECK(holds(&tail.buf, tails[i].expected), "tail %zu", i);
    CHECK(tail.lost == tails[i].lost, "tail %zu lost %zu", i, tail.lost);
    cx_buf_free(&tail.buf);
  }
}

static void test_long_tail(void) {
  cx_tail tail = {.limit = 1000};
  char piece[700];
  size_t total = 0;
  for (size_t n = 0; n < 100000; n++) {
    memset(piece, (int)n & 0x7F, sizeof piece);
    cx_tail_add(&tail, piece, n % sizeof piece);
    total += n % sizeof piece;
  }
  CHECK(tail.buf.len == 1000 && tail.lost == total - 1000, "%zu of %zu", tail.buf.len, total);
  CHECK(tail.buf.cap <= 8000, "memory stays bounded: %zu", tail.buf.cap);
  cx_buf_free(&tail.buf);
}

int main(void) {
  test_buf();
  test_queue(1, 1, 0);
  test_queue(7, 3, 1000);
  test_queue(3, 7, 1000);
  test_queue(100, 100, 4000);
  test_tail();
  test_long_tail();
  return report("buf_test");
}
