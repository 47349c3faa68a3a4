/* rpc_server: an app-server that has its answers ready. It reads requests, one JSON object a line
 * with `params` last, and answers each with the bytes of the file that the environment variable
 * RPC_RESULT names, or, where it names none, with the params it was sent. What has no id is not
 * answered.
 *
 * What is measured is who talks to it: it reads what there is, answers all of it in one write, and
 * looks at no more of a message than its head. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_SIZE = 1 << 20 };

typedef struct {
  char *data;
  size_t len, cap;
} bytes;

static char *room(bytes *b, size_t n) {
  while (b->cap - b->len < n) b->cap = b->cap ? b->cap * 2 : READ_SIZE * 2;
  b->data = realloc(b->data, b->cap);
  if (!b->data) exit(1);
  return b->data + b->len;
}

static void add(bytes *b, const char *data, size_t n) {
  memcpy(room(b, n), data, n);
  b->len += n;
}

static bytes result, in, out;

static void load_result(const char *path) {
  FILE *file = path ? fopen(path, "rb") : NULL;
  if (path && !file) exit(1);
  for (size_t n = 1; file && n > 0; result.len += n)
    n = fread(room(&result, READ_SIZE), 1, READ_SIZE, file);
  if (file) fclose(file);
}

/* What follows `key` in the line, or NULL. */
static const char *behind(const char *line, size_t n, const char *key) {
  const char *at = memmem(line, n, key, strlen(key));
  return at ? at + strlen(key) : NULL;
}

static void answer(const char *line, size_t n) {
  const char *params = behind(line, n, "\"params\":");
  const char *id = behind(line, params ? (size_t)(params - line) : n, "\"id\":");
  if (!id) return;
  size_t digits = strcspn(id, ",}\n");
  add(&out, "{\"id\":", 6);
  add(&out, id, digits);
  add(&out, ",\"result\":", 10);
  if (result.len)
    add(&out, result.data, result.len);
  else if (params)
    add(&out, params, (size_t)(line + n - 1 - params));
  else
    add(&out, "{}", 2);
  add(&out, "}\n", 2);
}

/* Answers the whole lines and keeps the rest; of that `scanned` bytes are known to have no end. */
static size_t take_lines(size_t scanned) {
  char *start = in.data, *end = in.data + in.len, *newline;
  for (char *from = start + scanned; (newline = memchr(from, '\n', (size_t)(end - from)));) {
    answer(start, (size_t)(newline - start));
    from = start = newline + 1;
  }
  in.len = (size_t)(end - start);
  memmove(in.data, start, in.len);
  return in.len;
}

static bool flush(void) {
  size_t done = 0;
  while (done < out.len) {
    ssize_t n = write(STDOUT_FILENO, out.data + done, out.len - done);
    if (n < 0) return false;
    done += (size_t)n;
  }
  out.len = 0;
  return true;
}

int main(void) {
  size_t scanned = 0;
  ssize_t n;
  load_result(getenv("RPC_RESULT"));
  while ((n = read(STDIN_FILENO, room(&in, READ_SIZE), READ_SIZE)) > 0) {
    in.len += (size_t)n;
    scanned = take_lines(scanned);
    if (!flush()) return 1;
  }
  return n < 0;
}
