/* Programs with standard streams that are closed, with signals as they are by default, and that
 * reap all children. Each case is a process of its own. Run from the repository's folder. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "codex_lua.h"
#include "test.h"

enum { OK = 9, LIMIT = 60 }; /* exit code of a script that saw what it should; seconds for all */

/* What it opens would be given the numbers of closed streams. */
static const char opening[] =
    "local codex, uv = require 'codex', require 'luv'\n"
    "local udp, event, file = uv.new_udp(), uv.new_fs_event(), assert(io.open '/dev/null')\n"
    "assert(udp:bind('127.0.0.1', 0) == 0 and event:start('/', {}, print) == 0)\n"
    "local r = assert(codex.proc.run({ 'sh', '-c', 'echo e >&2; cat' }, { input = 'i' }))\n"
    "local ok = r.stdout == 'i' and r.stderr == 'e\\n' and r.code == 0\n"
    "udp:close() event:close() file:close()\n"
    "os.exit(ok and 9 or 3)\n";

/* The first child closes its input at once, the second one while more of it is under way. */
static const char writing[] =
    "local codex = require 'codex'\n"
    "local function write_to(command)\n"
    "  local p <close> = assert(codex.proc.spawn({ 'sh', '-c', command }, { stdin = 'pipe' }))\n"
    "  p:line()\n"
    "  local ok, err = p:write(('x'):rep(1 << 20))\n"
    "  return not ok and err.code == 'EPIPE'\n"
    "end\n"
    "local ok = write_to 'exec <&-; echo; exec sleep 9' and write_to 'echo; exec head -c 9'\n"
    "os.exit(ok and 9 or 3)\n";

/* ---- A host in a process of its own ---------------------------------------------------------- */

typedef struct {
  uv_loop_t loop;
  cx_host *host;
  int code;
  bool is_over, on_own_loop;
} guest;

static void on_done(void *user, int code) {
  guest *g = user;
  g->code = code;
  g->is_over = true;
}

static void open_guest(guest *g, bool on_own_loop) {
  *g = (guest){.on_own_loop = on_own_loop};
  uv_loop_init(&g->loop); /* before anything is closed */
}

static bool open_host(guest *g) {
  const cx_host_options options = {
      .size = sizeof options, .data_dir = ".", .loop = g->on_own_loop ? NULL : &g->loop};
  return cx_host_open(&g->host, &options) == 0;
}

static bool run(guest *g, const char *script) {
  if (g->on_own_loop) return cx_host_run_string(g->host, script, "=s", 0, NULL) == OK;
  if (cx_host_start_string(g->host, script, "=s", 0, NULL, on_done, g) != 0) return false;
  while (!g->is_over) uv_run(&g->loop, UV_RUN_ONCE);
  return g->code == OK;
}

static bool close_guest(guest *g) {
  if (cx_host_close(g->host) != 0) return false;
  uv_run(&g->loop, UV_RUN_NOWAIT);
  return uv_loop_close(&g->loop) == 0;
}

/* Runs `test` in a child; whether it said yes. */
static bool in_child(bool (*test)(int how), int how) {
  int status = 0;
  pid_t pid = fork();
  if (pid == 0) {
    alarm(LIMIT);
    _exit(test(how) ? OK : 1);
  }
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == OK;
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static void close_streams(void) {
  for (int fd = 0; fd < 3; fd++) close(fd);
}

static bool are_closed(void) {
  bool are = true;
  for (int fd = 0; fd < 3; fd++) are = are && fcntl(fd, F_GETFD) < 0;
  return are;
}

static bool is_folder(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

enum { OWN_LOOP = 1, CLOSED_LATER = 2, STREAM_HOWS = 4 };

static bool has_no_streams(int how) {
  guest g;
  open_guest(&g, how & OWN_LOOP);
  if (!(how & CLOSED_LATER)) close_streams();
  if (!open_host(&g)) return false;
  if (how & CLOSED_LATER) close_streams();
  if (!are_closed() || !run(&g, opening) || !are_closed()) return false;
  return open("/", O_RDONLY) == 0 && close_guest(&g) && is_folder(0);
}

static void put_folder(void *user, const char *level, const char *line) {
  (void)user;
  (void)level;
  (void)line;
  int fd = open("/", O_RDONLY | O_CLOEXEC);
  dup2(fd, 0);
  close(fd);
}

/* Its log puts a file of its own where ours was; nobody else's is closed. */
static bool keeps_what_is_opened_inside(int how) {
  (void)how;
  cx_host *host;
  const cx_host_options options = {.size = sizeof options, .data_dir = ".", .on_log = put_folder};
  close_streams();
  if (cx_host_open(&host, &options) != 0) return false;
  int code = cx_host_run_string(host, "require('codex.log').warn 'now'", "=s", 0, NULL);
  return code == 0 && is_folder(0) && cx_host_close(host) == 0 && is_folder(0);
}

static void test_descriptors(void) {
  for (int how = 0; how < STREAM_HOWS; how++)
    CHECK(in_child(has_no_streams, how), "closed %s open, loop of %s",
          how & CLOSED_LATER ? "after" : "before", how & OWN_LOOP ? "its own" : "the caller");
  CHECK(in_child(keeps_what_is_opened_inside, 0), "a file of the program's was closed");
}

/* ---- SIGPIPE --------------------------------------------------------------------------------- */

static bool is_pending(void) {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGPIPE);
}

static bool is_blocked(void) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  return sigismember(&mask, SIGPIPE);
}

static bool survives_a_write(int how) {
  guest g;
  signal(SIGPIPE, SIG_DFL);
  open_guest(&g, how & OWN_LOOP);
  return open_host(&g) && run(&g, writing) && close_guest(&g) && !is_pending() && !is_blocked();
}

/* The program waits for a SIGPIPE of its own. */
static bool keeps_one_that_waits(int how) {
  guest g;
  sigset_t sigpipe;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  signal(SIGPIPE, SIG_DFL);
  pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
  raise(SIGPIPE);
  open_guest(&g, how & OWN_LOOP);
  return open_host(&g) && run(&g, writing) && close_guest(&g) && is_pending() && is_blocked();
}

static void test_sigpipe(void) {
  for (int how = 0; how <= OWN_LOOP; how++) {
    CHECK(in_child(survives_a_write, how), "a write to a child that has gone, case %d", how);
    CHECK(in_child(keeps_one_that_waits, how), "a signal that was pending, case %d", how);
  }
}

/* ---- Children that the program reaps --------------------------------------------------------- */

/* Whoever reaps a child has its exit code; everything else of it is as ever. */
static const char reaped[] =
    "local codex, lost = require 'codex', 0\n"
    "for _ = 1, 20 do\n"
    "  local r = assert(codex.proc.run({ 'sh', '-c', 'cat; exit 3' }, { input = 'text' }))\n"
    "  assert(r.stdout == 'text' and r.signal == 0 and r.code == (r.unknown and -1 or 3))\n"
    "  if r.unknown then lost = lost + 1 end\n"
    "end\n"
    "for _ = 1, 20 do assert(codex.proc.run { 'true' }) end\n"
    "local p <close> = assert(codex.proc.spawn { 'sleep', '99' })\n"
    "assert(p:stop().exited)\n"
    "local none, err = codex.proc.run { '/' }\n"
    "assert(not none and err.code == 'EACCES')\n"
    "os.exit(lost > 0 and 9 or 3)\n";

static void on_child(int number) {
  int error = errno;
  while (waitpid(-1, &number, WNOHANG) > 0) continue;
  errno = error;
}

enum { IGNORES = 2, RESTARTS = 4, REAP_HOWS = 6 };

static bool reaps_all(int how) {
  guest g;
  const struct sigaction action = {.sa_handler = how & IGNORES ? SIG_IGN : on_child,
                                   .sa_flags = how & RESTARTS ? SA_RESTART : 0};
  sigaction(SIGCHLD, &action, NULL);
  open_guest(&g, how & OWN_LOOP);
  return open_host(&g) && run(&g, reaped) && close_guest(&g);
}

static void test_reaping(void) {
  for (int how = 0; how < REAP_HOWS; how++) CHECK(in_child(reaps_all, how), "case %d", how);
}

int main(void) {
  test_reaping();
  test_descriptors();
  test_sigpipe();
  return report("visit_test");
}
