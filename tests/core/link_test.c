/* Links and their pipes over real sockets, pipes, files and children. Two links on one loop are
 * mostly each other's peers; `cat` is one that sends back what it hears. */
#include "link.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "err.h"
#include "pipe.h"
#include "test.h"

enum { MIB = 1 << 20, LIMIT = 64 << 20, SOME = 2 << 20 };

/* ---- A link that writes down what happens ---------------------------------------------------- */

typedef struct end end;
struct end {
  cx_link *link; /* NULL once it has closed */
  cx_buf told;
  size_t messages, bytes, answers, changes;
  unsigned closed;
  bool quiet;                                  /* count, do not write down */
  void (*within)(end *e, const cx_message *m); /* a message, an answer, or junk (NULL) */
  void (*on_change)(end *e);
};

static uv_loop_t loop;

static void tell(end *e, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (!e->quiet) cx_buf_add_string(&e->told, text);
}

static void on_message(void *user, const cx_message *m) {
  end *e = user;
  if (e->closed) abort();
  e->messages++;
  e->bytes += m->line.n;
  tell(e, "%.*s %.*s|", (int)m->method.n, m->method.at, (int)m->payload.n, m->payload.at);
  if (e->within) e->within(e, m);
}

static void on_answer(void *user, uint64_t call, int code, const cx_message *m) {
  end *e = user;
  if (e->closed) abort();
  e->answers++;
  if (m)
    tell(e, "%u=%.*s|", (unsigned)call, (int)m->payload.n, m->payload.at);
  else
    tell(e, "%u %s|", (unsigned)call, cx_err_name(code));
  if (m) e->bytes += m->line.n;
  if (e->within) e->within(e, m);
}

static void on_junk(void *user, const char *text, size_t n, int code) {
  end *e = user;
  if (e->closed) abort();
  tell(e, "junk %.*s %s|", (int)n, text, cx_err_name(code));
  if (e->within) e->within(e, NULL);
}

static void on_change(void *user) {
  end *e = user;
  if (e->closed) abort();
  e->changes++;
  if (e->on_change) e->on_change(e);
}

static void on_closed(void *user) {
  end *e = user;
  e->closed++;
  e->link = NULL;
}

static const cx_link_events events = {on_message, on_answer, on_junk, on_change, on_closed};
static const cx_link_options defaults = {.line_limit = LIMIT};

static void open_end(end *e, int in, int out, cx_link_options options) {
  memset(e, 0, sizeof *e);
  int rc = cx_link_open(&e->link, &loop, in, out, &options, &events, e);
  if (rc != 0) printf("cannot open: %s\n", cx_err_name(rc)), abort();
}

static void spawn_end(end *e, const char *script) {
  char sh[] = "sh", c[] = "-c", *argv[] = {sh, c, (char *)(uintptr_t)script, NULL};
  const cx_proc_options child = {.file = "sh", .argv = argv, .err = CX_STDIO_PIPE};
  memset(e, 0, sizeof *e);
  if (cx_link_spawn(&e->link, &loop, &child, &defaults, &events, e) != 0) abort();
}

static void socket_pair(int fds[2]) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) abort();
}

static void close_both(int fds[2]) {
  close(fds[0]);
  close(fds[1]);
}

/* Two links that talk to each other. */
static void open_pair(end *a, end *b, cx_link_options options) {
  int fds[2];
  socket_pair(fds);
  open_end(a, fds[0], fds[0], options);
  open_end(b, fds[1], fds[1], options);
  close_both(fds);
}

/* Lets the loop run until nothing has happened for a while. */
static void run(unsigned ms) {
  for (unsigned i = 0; i < ms; i++) {
    uv_run(&loop, UV_RUN_NOWAIT);
    usleep(1000);
  }
}

#define RUN_UNTIL(condition)                                                                       \
  for (int turns_ = 0; !(condition) && turns_ < 20000; turns_++) {                                 \
    uv_run(&loop, UV_RUN_NOWAIT);                                                                  \
    usleep(500);                                                                                   \
  }                                                                                                \
  CHECK(condition, "in time")

static void finish_end(end *e) {
  if (e->link) cx_link_close(e->link);
  while (e->link) uv_run(&loop, UV_RUN_ONCE);
  CHECK(e->closed == 1, "closed %u times", e->closed);
  cx_buf_free(&e->told);
}

static void finish_pair(end *a, end *b) {
  finish_end(a);
  finish_end(b);
}

static void expect(end *e, const char *wanted, const char *what) {
  CHECK(e->told.len == strlen(wanted) && memcmp(cx_buf_bytes(&e->told), wanted, e->told.len) == 0,
        "%s: %.*s", what, (int)e->told.len, cx_buf_bytes(&e->told));
  cx_buf_drop(&e->told, e->told.len);
}

static uint64_t call(end *e, const char *params, size_t n, uint64_t ms) {
  uint64_t number = 999;
  uv_update_time(&loop);
  int rc = cx_rpc_call(cx_link_rpc(e->link), "m", params, n, ms ? uv_now(&loop) + ms : 0, &number);
  if (rc != 0) tell(e, "call %s|", cx_err_name(rc));
  cx_link_arm(e->link);
  return number;
}

static void put(int fd, const char *text, size_t n) {
  if (write(fd, text, n) != (ssize_t)n) abort();
}

static void reply_same(end *e, const cx_message *m) {
  if (m && m->kind == CX_MESSAGE_REQUEST) cx_rpc_reply(cx_link_rpc(e->link), m->id, m->payload);
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static void test_split(void) {
  static const char text[] = "{\"method\":\"\xC3\xA4\",\"params\":\"\\u00e4\"}\r\n"
                             "\n"
                             "what?\n"
                             "{\"id\":0,\"result\":{\"a\":\"}\\\"\"}}\n"
                             "{\"method\":\"last\"}";
  size_t n = sizeof text - 1;
  for (size_t cut = 0; cut <= n; cut++) {
    end e;
    int fds[2];
    socket_pair(fds);
    open_end(&e, fds[0], fds[0], defaults);
    call(&e, NULL, 0, 0);
    put(fds[1], text, cut);
    for (int i = 0; i < 3; i++) uv_run(&loop, UV_RUN_NOWAIT);
    put(fds[1], text + cut, n - cut);
    shutdown(fds[1], SHUT_WR);
    RUN_UNTIL(cx_link_get_status(e.link).ended);
    expect(&e, "\xC3\xA4 \"\\u00e4\"|junk what? EJSON|0={\"a\":\"}\\\"\"}|last |", "split");
    close_both(fds);
    finish_end(&e);
  }
}

static char *large(size_t n) {
  char *text = malloc(n);
  if (!text) abort();
  memset(text, 'x', n);
  text[0] = text[n - 1] = '"';
  return text;
}

static void test_large(void) {
  enum { SIZE = 16 * MIB };
  end a, b;
  char *text = large(SIZE);
  open_pair(&a, &b, defaults);
  a.quiet = b.quiet = true;
  b.within = reply_same;
  call(&a, text, SIZE, 0);
  CHECK(cx_link_get_status(a.link).unwritten > SIZE / 2, "it does not fit at once");
  RUN_UNTIL(a.answers == 1);
  CHECK(b.messages == 1 && b.bytes > SIZE && a.bytes > SIZE, "%zu, %zu", b.bytes, a.bytes);
  CHECK(cx_link_get_status(a.link).unwritten == 0, "all is taken");
  free(text);
  finish_pair(&a, &b);
}

static void test_limit(void) {
  end a, b;
  char *text = large(2000);
  open_pair(&a, &b, (cx_link_options){.line_limit = 1000});
  cx_rpc_notify(cx_link_rpc(a.link), "long", text, 2000);
  cx_rpc_notify(cx_link_rpc(a.link), "short", "1", 1);
  cx_rpc_notify(cx_link_rpc(a.link), "long", text, 2000);
  cx_rpc_notify(cx_link_rpc(a.link), "again", "2", 1);
  RUN_UNTIL(b.messages == 2);
  expect(&b, "junk  ETOOLONG|short 1|junk  ETOOLONG|again 2|", "too long");
  free(text);
  finish_pair(&a, &b);
}

/* Raw lines come as they are, also empty ones and their "\r". */
static void test_relay_lines(void) {
  end e;
  int fds[2];
  static const char text[] = "\n{\"id\":1,\"result\":1}\r\n\r\n";
  socket_pair(fds);
  open_end(&e, fds[0], fds[0], (cx_link_options){.rpc = {.relay = true}, .line_limit = 99});
  put(fds[1], text, sizeof text - 1);
  RUN_UNTIL(e.told.len >= 28);
  expect(&e, "junk  EJSON| 1|junk \r EJSON|", "as they are");
  CHECK(e.bytes == strlen("{\"id\":1,\"result\":1}\r"), "%zu bytes", e.bytes);
  close_both(fds);
  finish_end(&e);
}

/* ---- Back-pressure --------------------------------------------------------------------------- */

static void test_pause(void) {
  enum { MANY = 64 };
  end a, b;
  char *text = large(MIB);
  open_pair(&a, &b, defaults);
  a.quiet = b.quiet = true;
  cx_link_pause(b.link, true);
  for (int i = 0; i < MANY; i++) cx_rpc_notify(cx_link_rpc(a.link), "n", text, MIB);
  run(50);
  size_t taken = (size_t)MANY * MIB - cx_link_get_status(a.link).unwritten;
  CHECK(taken < SOME, "a paused link takes %zu bytes", taken);
  CHECK(b.messages == 0, "and tells of none");
  cx_link_pause(b.link, false);
  RUN_UNTIL(b.messages == MANY);
  CHECK(cx_link_get_status(a.link).unwritten == 0, "then all of them");
  free(text);
  finish_pair(&a, &b);
}

static void pause_each(end *e, const cx_message *m) {
  (void)m;
  cx_link_pause(e->link, true);
}

/* What came in one piece is given one by one, and the end of the input waits for the last. */
static void test_pause_within(void) {
  end a, b;
  open_pair(&a, &b, defaults);
  b.within = pause_each;
  for (int i = 0; i < 3; i++) cx_rpc_notify(cx_link_rpc(a.link), "n", "1", 1);
  finish_end(&a);
  for (size_t i = 1; i <= 3; i++) {
    RUN_UNTIL(b.messages == i);
    run(5);
    CHECK(b.messages == i && !cx_link_get_status(b.link).ended, "%zu of %zu", b.messages, i);
    cx_link_pause(b.link, false);
  }
  RUN_UNTIL(cx_link_get_status(b.link).ended);
  finish_end(&b);
}

/* A child that has gone: its link stays until the last line was taken. */
static void test_pause_outlives_child(void) {
  end e;
  spawn_end(&e, "for i in 1 2 3; do echo '{\"method\":\"n\"}'; done");
  e.within = pause_each;
  RUN_UNTIL(e.messages == 1 && cx_link_child(e.link)->exited);
  run(20);
  CHECK(e.messages == 1 && e.closed == 0, "it waits: %zu", e.messages);
  cx_link_pause(e.link, false);
  RUN_UNTIL(e.messages == 2);
  cx_link_pause(e.link, false);
  RUN_UNTIL(e.messages == 3);
  run(5);
  CHECK(e.closed == 0, "still paused");
  cx_link_pause(e.link, false);
  RUN_UNTIL(e.closed == 1);
  finish_end(&e);
}

static void pause_and_go(end *e) {
  cx_link_pause(e->link, true);
  cx_link_pause(e->link, false);
}

static void on_prepare(uv_prepare_t *prepare) {
  end *e = prepare->data;
  if (e->link) pause_and_go(e);
}

/* Pausing while everything is closing already, at any time of the loop's turn. */
static void test_pause_at_end(void) {
  end e;
  uv_prepare_t prepare;
  spawn_end(&e, "echo '{\"method\":\"n\"}'");
  e.on_change = pause_and_go;
  RUN_UNTIL(e.closed == 1);
  expect(&e, "n |", "all was told");
  finish_end(&e);
  spawn_end(&e, "echo '{\"method\":\"n\"}'");
  e.within = pause_each;
  RUN_UNTIL(e.messages == 1 && cx_link_child(e.link)->exited);
  run(5);
  uv_prepare_init(&loop, &prepare);
  prepare.data = &e;
  uv_prepare_start(&prepare, on_prepare);
  RUN_UNTIL(e.closed == 1);
  uv_close((uv_handle_t *)&prepare, NULL);
  run(5);
  finish_end(&e);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void test_end_with_pending(void) {
  end a, b;
  open_pair(&a, &b, (cx_link_options){.rpc = {.window = 2}, .line_limit = MIB});
  for (int i = 0; i < 3; i++) call(&a, "1", 1, 60000);
  RUN_UNTIL(b.messages == 2);
  cx_buf_drop(&b.told, b.told.len);
  cx_link_close(b.link);
  RUN_UNTIL(a.answers == 3);
  CHECK(cx_link_get_status(a.link).ended && a.changes > 0 && a.closed == 0, "it is told");
  cx_buf_drop(&a.told, a.told.len);
  call(&a, "1", 1, 0);
  expect(&a, "call ECLOSED|", "a later call");
  finish_pair(&a, &b);
}

/* The other side says no more but listens: it is still answered, and hears our end. */
static void test_half_close(void) {
  end e;
  int fds[2];
  char text[256];
  socket_pair(fds);
  open_end(&e, fds[0], fds[0], defaults);
  put(fds[1], "{\"id\":\"q\",\"method\":\"m\"}\n", 24);
  shutdown(fds[1], SHUT_WR);
  RUN_UNTIL(cx_link_get_status(e.link).ended);
  cx_rpc_reply(cx_link_rpc(e.link), (cx_span){"\"q\"", 3}, (cx_span){"7", 1});
  cx_link_finish(e.link);
  close(fds[0]);
  ssize_t n = read(fds[1], text, sizeof text);
  CHECK(n == 22 && memcmp(text, "{\"id\":\"q\",\"result\":7}\n", 22) == 0, "%zd: %.*s", n,
        (int)(n > 0 ? n : 0), text);
  CHECK(read(fds[1], text, sizeof text) == 0, "our end");
  CHECK(cx_link_send(e.link, "x\n", 2) == CX_ECLOSED, "nothing after it");
  close(fds[1]);
  finish_end(&e);
}

static void test_finish_after_large(void) {
  end a, b;
  char *text = large(SOME);
  open_pair(&a, &b, defaults);
  b.quiet = true;
  cx_rpc_notify(cx_link_rpc(a.link), "n", text, SOME);
  cx_link_finish(a.link);
  RUN_UNTIL(cx_link_get_status(b.link).ended);
  CHECK(b.messages == 1, "what was written before the end arrives");
  free(text);
  finish_pair(&a, &b);
}

static void close_within(end *e, const cx_message *m) {
  (void)m;
  cx_link_close(e->link);
}

static void close_on_change(end *e) { cx_link_close(e->link); }

static void test_close_within(void) {
  static const char *const lines[] = {
      "{\"method\":\"n\"}\n{\"method\":\"n\"}\n",
      "junk\n{\"method\":\"n\"}\n",
      "{\"id\":0,\"result\":1}\n{\"method\":\"n\"}\n",
  };
  static const char *const wanted[] = {"n |0 ECLOSED|", "junk junk EJSON|0 ECLOSED|", "0=1|"};
  for (size_t i = 0; i < 3; i++) {
    end e;
    int fds[2];
    socket_pair(fds);
    open_end(&e, fds[0], fds[0], defaults);
    e.within = close_within;
    call(&e, NULL, 0, 0);
    put(fds[1], lines[i], strlen(lines[i]));
    RUN_UNTIL(e.closed);
    expect(&e, wanted[i], "nothing comes after it but the end of the calls");
    close_both(fds);
    finish_end(&e);
  }
  end a, b;
  open_pair(&a, &b, defaults);
  a.on_change = close_on_change;
  finish_end(&b);
  RUN_UNTIL(a.closed);
  finish_end(&a);
}

static void test_deadline(void) {
  end a, b;
  open_pair(&a, &b, (cx_link_options){.rpc = {.window = 1}, .line_limit = MIB});
  uint64_t began = uv_hrtime();
  call(&a, "1", 1, 5000);
  call(&a, "2", 1, 40);
  call(&a, "3", 1, 20);
  RUN_UNTIL(a.answers == 2);
  double ms = (double)(uv_hrtime() - began) / 1e6;
  expect(&a, "2 ETIMEOUT|1 ETIMEOUT|", "in the order of their deadlines");
  CHECK(ms >= 39 && ms < 1000, "after %.0f ms", ms);
  CHECK(b.messages == 1, "those that waited for their turn were never sent");
  finish_pair(&a, &b);
}

/* ---- Children -------------------------------------------------------------------------------- */

/* cat sends our request back as a request, and our answer to that as an answer. */
static void test_cat(void) {
  end e;
  spawn_end(&e, "exec cat");
  e.within = reply_same;
  for (int i = 0; i < 3; i++) call(&e, "\"hello\"", 7, 0);
  RUN_UNTIL(e.answers == 3);
  CHECK(e.messages == 3, "%zu", e.messages);
  cx_link_finish(e.link);
  RUN_UNTIL(e.closed);
  finish_end(&e);
}

static void test_killed(void) {
  end e;
  spawn_end(&e, "echo dying >&2; exec sleep 60");
  for (int i = 0; i < 100; i++) call(&e, NULL, 0, 0);
  const cx_tail *tail = cx_link_stderr(e.link);
  RUN_UNTIL(tail->buf.len == 6);
  kill(cx_link_child(e.link)->pid, SIGKILL);
  RUN_UNTIL(e.closed);
  CHECK(e.answers == 100, "each call is told: %zu", e.answers);
  finish_end(&e);
}

static void keep_status(end *e) {
  const cx_proc_status *s = cx_link_child(e->link);
  const cx_tail *tail = cx_link_stderr(e->link);
  cx_buf_drop(&e->told, e->told.len);
  tell(e, "%d %d %.*s", s->exited, s->code, (int)tail->buf.len, cx_buf_bytes(&tail->buf));
}

/* The child's status and last words are there to the last. */
static void test_exit_facts(void) {
  end e;
  spawn_end(&e, "echo oh no >&2; exit 7");
  e.on_change = keep_status;
  RUN_UNTIL(e.closed);
  expect(&e, "1 7 oh no\n", "at the last change");
  finish_end(&e);
}

static void test_stop(void) {
  end e;
  spawn_end(&e, "exec sleep 60");
  int pid = cx_link_child(e.link)->pid;
  call(&e, NULL, 0, 0);
  cx_link_stop(e.link, CX_ECANCELLED);
  RUN_UNTIL(e.closed);
  expect(&e, "0 ECLOSED|", "its calls are told");
  CHECK(kill(pid, 0) != 0, "it is gone");
  finish_end(&e);
  spawn_end(&e, "trap '' TERM; exec sleep 60");
  pid = cx_link_child(e.link)->pid;
  finish_end(&e);
  CHECK(kill(pid, 0) != 0, "closing kills");
}

static void test_no_child(void) {
  char name[] = "/nonexistent/program", *argv[] = {name, NULL};
  const cx_proc_options child = {.file = name, .argv = argv};
  end e = {0};
  int rc = cx_link_spawn(&e.link, &loop, &child, &defaults, &events, &e);
  CHECK(rc == UV_ENOENT, "%d", rc);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(e.closed == 0 && e.changes == 0, "nothing is told of what never was");
}

/* ---- Files and devices ----------------------------------------------------------------------- */

static void test_file(void) {
  char path[] = "/tmp/link-test-XXXXXX";
  char text[256];
  end e;
  int fd = mkstemp(path), null = open("/dev/null", O_RDWR);
  put(fd, "{\"method\":\"a\"}\n{\"id\":1,\"method\":\"b\"}", 36);
  lseek(fd, 0, SEEK_SET);
  open_end(&e, fd, null, (cx_link_options){.line_limit = 99, .read_size = 5});
  cx_link_send(e.link, "lost\n", 5);
  RUN_UNTIL(cx_link_get_status(e.link).ended);
  expect(&e, "a |b |", "a file as input");
  finish_end(&e);
  open_end(&e, null, fd, defaults);
  RUN_UNTIL(cx_link_get_status(e.link).ended);
  cx_rpc_notify(cx_link_rpc(e.link), "n", NULL, 0);
  finish_end(&e);
  ssize_t n = pread(fd, text, sizeof text, 36);
  CHECK(n == 15 && memcmp(text, "{\"method\":\"n\"}\n", 15) == 0, "a file as output: %zd", n);
  CHECK(fcntl(fd, F_GETFD) >= 0 && fcntl(null, F_GETFD) >= 0, "they stay the caller's");
  close(fd);
  close(null);
  unlink(path);
}

static void test_file_paused(void) {
  end e;
  int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
  open_end(&e, zero, null, (cx_link_options){.line_limit = 10, .read_size = 4096});
  RUN_UNTIL(e.told.len > 0);
  expect(&e, "junk  ETOOLONG|", "an endless line is told once");
  cx_link_pause(e.link, true);
  cx_link_pause(e.link, false);
  run(5);
  cx_link_pause(e.link, true);
  run(5);
  finish_end(&e); /* also while the thread pool reads */
  close(zero);
  close(null);
}

static void test_odd_descriptors(void) {
  end e = {0};
  int full = open("/dev/full", O_WRONLY), null = open("/dev/null", O_RDONLY);
  int folder = open("/tmp", O_RDONLY | O_DIRECTORY), fds[2];
  open_end(&e, null, full, defaults);
  int rc = cx_rpc_notify(cx_link_rpc(e.link), "n", NULL, 0);
  CHECK(rc == UV_ENOSPC, "a full disk: %s", cx_err_name(rc));
  CHECK(cx_link_get_status(e.link).write_error == UV_ENOSPC, "and the status says so");
  finish_end(&e);
  open_end(&e, folder, folder, defaults);
  RUN_UNTIL(cx_link_get_status(e.link).ended);
  rc = cx_link_send(e.link, "x\n", 2);
  CHECK(rc == UV_EBADF, "a folder: %s", cx_err_name(rc));
  finish_end(&e);
  memset(&e, 0, sizeof e);
  rc = cx_link_open(&e.link, &loop, 987, null, &defaults, &events, &e);
  CHECK(rc == UV_EBADF, "no descriptor: %s", cx_err_name(rc));
  rc = cx_link_open(&e.link, &loop, null, 987, &defaults, &events, &e);
  CHECK(rc == UV_EBADF, "no descriptor: %s", cx_err_name(rc));
  if (pipe(fds) != 0) abort();
  rc = cx_link_open(&e.link, &loop, fds[1], fds[1], &defaults, &events, &e);
  CHECK(rc < 0, "the end that cannot be read: %s", cx_err_name(rc));
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(e.closed == 0, "nothing is told");
  close_both(fds);
  close(full);
  close(null);
  close(folder);
}

static void test_broken_pipe(void) {
  end e;
  int in[2], out[2];
  if (pipe(in) != 0 || pipe(out) != 0) abort();
  open_end(&e, in[0], out[1], defaults);
  close(out[0]);
  cx_rpc_notify(cx_link_rpc(e.link), "n", NULL, 0);
  RUN_UNTIL(cx_link_get_status(e.link).write_error == UV_EPIPE);
  CHECK(e.changes > 0, "it is told");
  CHECK(cx_rpc_notify(cx_link_rpc(e.link), "n", NULL, 0) == CX_ECLOSED, "and known");
  CHECK(!cx_link_get_status(e.link).ended, "input may still come");
  finish_end(&e);
  close_both(in);
  close(out[1]);
}

/* ---- Flags ----------------------------------------------------------------------------------- */

static bool is_blocking(int fd) { return !(fcntl(fd, F_GETFL) & O_NONBLOCK); }

/* What others share with us is as it was, whichever side ends first. */
static void test_flags(void) {
  end e;
  int fds[2], in[2], out[2];
  socket_pair(fds);
  open_end(&e, fds[0], fds[0], defaults);
  CHECK(!is_blocking(fds[0]), "while it is open");
  shutdown(fds[1], SHUT_WR);
  RUN_UNTIL(cx_link_get_status(e.link).ended);
  CHECK(!is_blocking(fds[0]), "one socket: the input has ended, the output must not block");
  cx_link_close(e.link);
  CHECK(is_blocking(fds[0]), "one socket, closed");
  finish_end(&e);
  close_both(fds);
  if (pipe(in) != 0 || pipe(out) != 0) abort();
  open_end(&e, in[0], out[1], defaults);
  cx_link_finish(e.link);
  CHECK(is_blocking(out[1]) && !is_blocking(in[0]), "two pipes, the output ended");
  close(in[1]);
  RUN_UNTIL(cx_link_get_status(e.link).ended);
  CHECK(is_blocking(in[0]), "and the input");
  finish_end(&e);
  close(in[0]);
  close_both(out);
  if (pipe(in) != 0) abort();
  open_end(&e, in[0], in[1], defaults);
  cx_link_close(e.link);
  CHECK(is_blocking(in[0]) && is_blocking(in[1]), "the two ends of one pipe");
  finish_end(&e);
  close_both(in);
  if (pipe2(in, O_NONBLOCK) != 0) abort();
  open_end(&e, in[0], in[1], defaults);
  finish_end(&e);
  CHECK(!is_blocking(in[0]) && !is_blocking(in[1]), "what did not block before");
  close_both(in);
}

static int open_files(void) {
  int n = 0;
  for (int fd = 0; fd < 200; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

static void test_all(void) {
  test_split();
  test_large();
  test_limit();
  test_relay_lines();
  test_pause();
  test_pause_within();
  test_pause_outlives_child();
  test_pause_at_end();
  test_end_with_pending();
  test_half_close();
  test_finish_after_large();
  test_close_within();
  test_deadline();
  test_cat();
  test_killed();
  test_exit_facts();
  test_stop();
  test_no_child();
  test_file();
  test_file_paused();
  test_odd_descriptors();
  test_broken_pipe();
  test_flags();
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  alarm(300);
  uv_loop_init(&loop);
  end warm; /* with its first stream a loop opens a spare descriptor, which it keeps */
  spawn_end(&warm, "true");
  finish_end(&warm);
  int before = open_files();
  test_all();
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(open_files() == before, "%d files were open, %d are", before, open_files());
  CHECK(waitpid(-1, NULL, WNOHANG) < 0, "no child is left");
  CHECK(uv_loop_close(&loop) == 0, "nothing is left on the loop");
  uv_library_shutdown();
  return report("link_test");
}
