/* What a system has, or what stands for it: descriptors, children that do not outlive us, signals
 * at their time. The keeper is tried wherever this runs, whether the platform needs it or not. */
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper.h"
#include "test.h"

enum { FAR = 200, LONG_MS = 60000, SECOND = 1000000000 };

/* ---- Descriptors ----------------------------------------------------------------------------- */

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }
static bool is_cloexec(int fd) { return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0; }
static bool blocks(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }

static void test_flags(void) {
  int ends[2], pair[2];
  CHECK(cx__pipe(ends) == 0, "a pipe");
  CHECK(is_cloexec(ends[0]) && is_cloexec(ends[1]), "both ends");
  CHECK(blocks(ends[0]) && blocks(ends[1]), "both ends");
  pair[0] = cx__socket();
  CHECK(pair[0] >= 0 && is_cloexec(pair[0]) && !blocks(pair[0]), "a socket");
  CHECK(cx__accept(pair[0]) == -EINVAL, "one that is not listened on");
  close(ends[0]);
  close(ends[1]);
  close(pair[0]);
}

/* In a child, for this program has descriptors of its own. */
static int in_child(int (*what)(void)) {
  int how = 0;
  pid_t pid = fork();
  if (pid == 0) _exit(what());
  while (waitpid(pid, &how, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how);
}

static int close_some(void) {
  for (int fd = 5; fd <= FAR; fd += 13) dup2(0, fd);
  if (cx__close_from(6) != 0) return 1;
  for (int fd = 6; fd <= FAR; fd++)
    if (is_open(fd)) return 2;
  return is_open(5) && is_open(0) ? 0 : 3;
}

static int mark_some(void) {
  for (int fd = 5; fd <= FAR; fd += 13) dup2(0, fd);
  if (cx__cloexec_from(6) != 0) return 1;
  for (int fd = 5; fd <= FAR; fd += 13)
    if (is_cloexec(fd) != (fd > 5)) return 2;
  return 0;
}

static void test_ranges(void) {
  CHECK(in_child(close_some) == 0, "closing");
  CHECK(in_child(mark_some) == 0, "close-on-exec");
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static void test_memory(void) {
  static const char text[] = "a.b.c\0d.e";
  const size_t n = sizeof text - 1;
  CHECK(cx__last(text, '.', n) == text + 7, "behind a NUL");
  CHECK(cx__last(text, '.', 2) == text + 1, "within the bytes that count");
  CHECK(!cx__last(text, 'x', n) && !cx__last(text, 'a', 0), "none");
  CHECK(cx__find(text, n, "d.e", 3) == text + 6, "the last one");
  CHECK(cx__find(text, n, "b.c", 3) == text + 2, "behind one that begins alike");
  CHECK(!cx__find(text, n - 1, "d.e", 3) && !cx__find(text, 2, "a.b", 3), "beyond the bytes");
  char secret[64], zero[64] = {0};
  memset(secret, 'x', sizeof secret);
  cx__wipe(secret, sizeof secret);
  CHECK(memcmp(secret, zero, sizeof zero) == 0, "wiped");
  CHECK(cx__random(secret, sizeof secret) == 0, "random bytes");
  CHECK(memcmp(secret, zero, sizeof zero) != 0, "random bytes");
  char *bytes = cx__map(100000);
  CHECK(bytes && bytes[0] == 0 && bytes[99999] == 0, "memory");
}

/* ---- Processes ------------------------------------------------------------------------------- */

/* Whether the other end of a pipe is closed within a minute: everybody who had it is gone. */
static bool ends(int fd) {
  struct pollfd end = {.fd = fd, .events = POLLIN};
  return poll(&end, 1, LONG_MS) == 1 && (end.revents & POLLHUP);
}

/* A parent that is killed, and its child, which holds the pipe. */
static pid_t start_family(const int life[2], bool has_group) {
  pid_t parent = fork();
  if (parent != 0) return parent;
  int ready[2];
  if (cx__bound_open() != 0 || pipe(ready) != 0) _exit(1);
  parent = getpid();
  pid_t child = fork();
  if (child == 0) {
    if (has_group) setsid();
    if (cx__bound_to(parent, has_group) != 0) _exit(2);
    if (has_group && fork() == 0) pause(); /* one more in the group, which nobody knows of */
    if (write(ready[1], "x", 1) != 1) _exit(3);
    for (;;) pause();
  }
  char byte;
  close(life[1]);
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) _exit(4);
  raise(SIGKILL);
  _exit(5);
}

static void test_bound(bool has_group) {
  int life[2], how = 0;
  CHECK(cx__pipe(life) == 0, "a pipe");
  pid_t parent = start_family(life, has_group);
  close(life[1]);
  waitpid(parent, &how, 0);
  CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL, "group: %d, how: %x", has_group,
        (unsigned)how);
  CHECK(ends(life[0]), "group: %d", has_group);
  close(life[0]);
}

static int outlive(void) { return cx__bound_to(getppid() + 1, false) == -ESRCH ? 0 : 1; }

static void test_orphan(void) {
  CHECK(cx__bound_open() == 0, "open");
  CHECK(in_child(outlive) == 0, "a parent that has ended before");
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static int wait_for_alarm(void) {
  cx_alarm alarm, other;
  if (cx__alarm_open(&alarm, SIGKILL) != 0 || cx__alarm_open(&other, SIGTERM) != 0) return 1;
  cx__alarm_set(&other, now() + SECOND / 100);
  cx__alarm_set(&other, 0);
  cx__alarm_set(&alarm, now() + SECOND / 10);
  raise(SIGSTOP);
  return 2;
}

static void test_alarm(void) {
  int how = 0;
  pid_t pid = fork();
  if (pid == 0) _exit(wait_for_alarm());
  waitpid(pid, &how, 0);
  CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL, "%x", (unsigned)how);
}

/* ---- The keeper ------------------------------------------------------------------------------ */

/* A process that ends only by a signal, and a pipe that says when. */
static pid_t start_target(int *life) {
  int both[2];
  if (cx__pipe(both) != 0) return -1;
  pid_t pid = fork();
  if (pid == 0)
    for (;;) pause();
  close(both[1]);
  *life = both[0];
  return pid;
}

static int signal_of(pid_t pid) {
  int how = 0;
  waitpid(pid, &how, 0);
  return WIFSIGNALED(how) ? WTERMSIG(how) : 0;
}

static void test_keeper(void) {
  int life = -1, second = -1, count = 0;
  CHECK(cx__keeper_open() == 0 && cx__keeper_open() == 0, "open");
  CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "it is no child of ours");
  pid_t one = start_target(&life), two = start_target(&second);
  CHECK(cx__keeper_signal(one, SIGTERM, now() + SECOND / 20) == 0, "one");
  CHECK(cx__keeper_signal(two, SIGTERM, now() + SECOND / 20) == 0, "another");
  CHECK(cx__keeper_signal(two, SIGTERM, CX_KEEPER_NEVER) == 0, "not that one");
  CHECK(cx__keeper_signal(two, SIGUSR1, now() + SECOND / 5) == 0, "but later");
  CHECK(ends(life) && signal_of(one) == SIGTERM, "the one");
  CHECK(ends(second) && signal_of(two) == SIGUSR1, "the other");
  close(life);
  close(second);
  one = start_target(&life);
  for (; count < CX_KEEPER_ROOM; count++) { /* orders for nobody: there is no such signal */
    while (cx__keeper_signal(one, 1000 + count, CX_KEEPER_END) != 0) poll(NULL, 0, 1);
  }
  while (cx__keeper_signal(one, SIGTERM, CX_KEEPER_END) != 0) poll(NULL, 0, 1);
  CHECK(ends(life) && signal_of(one) == SIGTERM, "one too many gets it at once");
  close(life);
}

int main(void) {
  test_flags();
  test_ranges();
  test_memory();
  test_bound(false);
  test_bound(true);
  test_orphan();
  test_alarm();
  test_keeper(); /* has no room afterwards */
  return report("platform_test");
}
