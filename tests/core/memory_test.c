/* Memory runs out once, at the n-th allocation of whatever is in this process, for every n: a host
 * is opened, a script runs, the host is closed. Nothing crashes, hangs or is lost. Every n is tried
 * for allocations of ours and of the libraries, and some for the many of Lua, which tries again
 * after a collection. Run from the repository's folder; CX_SLOW: fewer of them.
 *
 * Lua's memory does not come from the pool here, but from where all does. Under a sanitizer, whose
 * own memory this would be, there is nothing to do: it sees what becomes of each block elsewhere.
 */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "codex_lua.h"
#include "platform.h"
#include "pool.h"
#include "test.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

enum { CALM = 0, OURS, LUAS };

/* Of the thread that runs the host: what fails is an allocation of one kind. */
static __thread struct {
  int fails, kind;
  long left, blocks;
  bool is_luas, is_inside;
} memory;

/* ---- The allocator --------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t n);
extern void __libc_free(void *block);

/* Who cannot live without: luv does not look at what malloc gives, and libuv aborts, as it says,
 * where its table of watchers cannot grow. */
static bool is_spared(const void *caller, bool grows) {
  Dl_info info;
  if (dladdr(caller, &info) == 0) return false;
  return strstr(info.dli_fname, "-luv") || (grows && strstr(info.dli_fname, "libuv"));
}

/* Whether this is the one that fails. */
static bool fails(const void *caller, bool grows) {
  int kind = memory.is_luas ? LUAS : OURS;
  if (memory.fails != kind || memory.left < 0 || is_spared(caller, grows)) return false;
  if (memory.left-- > 0) return false;
  errno = ENOMEM;
  return true;
}

static void *counted(void *block) {
  if (block) memory.blocks++;
  return block;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t n) { return fails(CALLER, false) ? NULL : counted(__libc_malloc(n)); }

void *calloc(size_t count, size_t size) {
  return fails(CALLER, false) ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t n) {
  if (fails(CALLER, true)) return NULL;
  return block ? __libc_realloc(block, n) : counted(__libc_malloc(n));
}

void free(void *block) {
  if (block) memory.blocks--;
  __libc_free(block);
}

void *cx_pool_resize(cx_pool *pool, void *block, size_t old, size_t size) {
  (void)pool;
  (void)old;
  memory.is_luas = true;
  void *moved = size ? realloc(block, size) : NULL;
  if (size == 0) free(block);
  memory.is_luas = false;
  return moved;
}

void cx_pool_free(cx_pool *pool) { (void)pool; }

/* ---- One life of a host ---------------------------------------------------------------------- */

static const char running[] =
    "local codex = require 'codex'\n"
    "local r = codex.proc.run({ 'cat' }, { input = 'text', timeout = 20 })\n"
    "os.exit(r and r.stdout == 'text' and r.code == 0 and 9 or 3)\n";

static const char connecting[] =
    "local codex = require 'codex'\n"
    "local server = [[read -r l; id=${l#*\\\"id\\\":}; id=${id%%,*}\n"
    "printf '{\"id\":%s,\"result\":{\"userAgent\":\"x\"}}\\n' \"$id\"; exec cat >/dev/null]]\n"
    "local cx = codex.with { cwd = '.', grace = 0.2 }\n"
    "local client = cx.connect { policies = {}, audit = false, timeout = 20,\n"
    "  command = { 'sh', '-c', server } }\n"
    "if client then client:close() end\n"
    "os.exit(client and 9 or 3)\n";

/* Its message is kept and logged, at a time when there may be no memory for that. */
static const char failing[] = "local codex = require 'codex'\n"
                              "codex.spawn(error, 'unheard') codex.sleep(0)\n"
                              "collectgarbage() codex.sleep(0.001) os.exit(9)\n";

static void ignore(void *user, const char *level, const char *line) {
  (void)user;
  (void)level;
  (void)line;
}

static void on_done(void *user, int code) { *(int *)user = code; }

/* The script's code, or why there is none. */
static int live(const char *script, uv_loop_t *loop, bool *is_closed) {
  cx_host *host;
  const cx_host_options options = {
      .size = sizeof options, .data_dir = ".", .on_log = ignore, .loop = loop, .close_ms = 5000};
  int code = -1, rc = cx_host_open(&host, &options);
  *is_closed = true;
  if (rc == 0 && loop) {
    rc = cx_host_start_string(host, script, "=s", 0, NULL, on_done, &code);
    if (rc == 0) uv_run(loop, UV_RUN_DEFAULT);
  } else if (rc == 0) {
    code = cx_host_run_string(host, script, "=s", 0, NULL);
  }
  memory.fails = CALM;
  *is_closed = cx_host_close(host) == 0;
  if (loop) uv_run(loop, UV_RUN_DEFAULT);
  return rc != 0 ? rc : code;
}

/* Where a thread waits for each child it gives back a block as well, which is not counted here. */
#ifdef CX_NO_PIDFD
enum { COUNTS = 0 };
#else
enum { COUNTS = 1 };
#endif

/* Whether there was an n-th allocation. */
static bool fail_at(long n, int kind, const char *script, uv_loop_t *loop) {
  long before = memory.blocks;
  bool is_closed;
  alarm(60); /* ends what hangs */
  memory.left = n;
  memory.fails = kind;
  int code = live(script, loop, &is_closed);
  bool lasted = memory.left >= 0;
  const char *whose = kind == OURS ? "ours" : "Lua's";
  if (!is_closed) CHECK(false, "%ld of %s: something was left open", n, whose);
  if (COUNTS && memory.blocks != before)
    CHECK(false, "%ld of %s: %ld blocks lost, code %d", n, whose, memory.blocks - before, code);
  if (lasted) CHECK(code == 9, "%ld of %s, which was not reached: %d", n, whose, code);
  return !lasted;
}

static void test_all(int kind, const char *script, uv_loop_t *loop, long step) {
  long n = 0;
  while (fail_at(n, kind, script, loop)) n += n < 50 ? 1 : step;
  CHECK(n > 5, "%ld allocations are few", n);
}

/* What is made once for the process is no loss. */
static void warm_up(uv_loop_t *loop) {
  bool is_closed;
  live(running, NULL, &is_closed);
  live(connecting, loop, &is_closed);
}

int main(void) {
  bool slow = getenv("CX_SLOW") != NULL, whole = getenv("CX_WHOLE") != NULL;
  uv_loop_t loop;
  uv_loop_init(&loop);
  warm_up(&loop);
  test_all(OURS, running, NULL, slow ? 13 : 1);
  test_all(OURS, failing, NULL, 1);
  test_all(OURS, connecting, &loop, slow ? 37 : 1);
  test_all(LUAS, running, &loop, slow ? 1999 : whole ? 1 : 211);
  test_all(LUAS, connecting, NULL, slow ? 9973 : whole ? 1 : 997);
  CHECK(uv_loop_close(&loop) == 0, "the caller's loop has something of ours");
  return report("memory_test");
}

#else
int main(void) { return report("memory_test"); }
#endif
