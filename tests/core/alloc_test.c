/* Memory runs out at the n-th allocation of Lua, for every n: the script fails or does not, nothing
 * crashes, and the host closes with nothing left. Run from the repository's folder. */
#include <lua.h>
#include <time.h>

#include "codex_lua.h"
#include "test.h"

static const char script[] =
    "local json, lines = require 'codex.core.json', require 'codex.core.lines'\n"
    "local value = json.decode '{\"a\":[1,\"\\\\u0000x\",12345678901234567890],\"a\":null}'\n"
    "json.encode(value, { pretty = true })\n"
    "local frame = lines.new(10)\n"
    "frame:feed 'one\\ntwo\\n'\n"
    "while frame:next() do end\n"
    "require('codex.core.log').redact 'Bearer abc'\n"
    "local proc = require 'codex.proc'\n"
    "local r = assert(proc.run({ 'cat' }, { input = 'text', env = { A = 'b' }, timeout = 5 }))\n"
    "assert(r.stdout == 'text' and r.code == 0)\n";

typedef struct {
  lua_Alloc inner;
  void *user;
  long left; /* allocations until the two that fail: Lua tries again after a collection */
} failing;

static void *fail_at_n(void *user, void *block, size_t old_size, size_t size) {
  failing *f = user;
  bool grows = size > 0 && (!block || size > old_size);
  if (grows && (f->left-- == 0 || f->left == -2)) return NULL;
  return f->inner(f->user, block, old_size, size);
}

static void ignore(void *user, const char *level, const char *line) {
  (void)user;
  (void)level;
  (void)line;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Returns whether memory lasted for the whole script. */
static bool test_nth(long n) {
  cx_host *host;
  const cx_host_options options = {.data_dir = ".", .on_log = ignore};
  if (cx_host_open(&host, &options) != 0) abort();
  lua_State *L = cx_host_lua(host);
  failing f = {.left = n};
  double began = seconds();
  f.inner = lua_getallocf(L, &f.user);
  lua_setallocf(L, fail_at_n, &f);
  int code = cx_host_run_string(host, script, "=script", 0, NULL);
  bool lasted = f.left >= 0;
  if (code != 0 && lasted) CHECK(false, "allocation %ld: %d, %s", n, code, cx_host_error(host));
  f.left = 1000000000;
  if (cx_host_close(host) != 0) CHECK(false, "allocation %ld: something was left open", n);
  if (seconds() - began > 4) CHECK(false, "allocation %ld: took %.1f s", n, seconds() - began);
  return lasted;
}

int main(void) {
  long n = 0, step = getenv("CX_SLOW") ? 23 : 1;
  while (!test_nth(n)) n += step;
  CHECK(n > 500, "%ld allocations are few", n);
  return report("alloc_test");
}
