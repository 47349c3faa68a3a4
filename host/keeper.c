/* Signals for others at their time; see keeper.h. */
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "platform.h"

enum { IN = 3 }; /* the keeper's end of the pipe */

typedef struct {
  int64_t time;
  pid_t target;
  int number;
} order;

/* Ours: the pipe's ends, both, so that writing never is an error because the keeper is gone; the
 * process whose keeper it is. */
static struct {
  pid_t owner;
  int in, out;
} ours;

/* ---- The keeper's side ----------------------------------------------------------------------- */

static order orders[CX_KEEPER_ROOM];
static size_t count;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void take(const order *o) {
  size_t i = 0;
  while (i < count && (orders[i].target != o->target || orders[i].number != o->number)) i++;
  if (o->time == CX_KEEPER_NEVER) {
    if (i < count) orders[i] = orders[--count];
  } else if (i < CX_KEEPER_ROOM) {
    orders[i] = *o;
    if (i == count) count++;
  } else {
    kill(o->target, o->number);
  }
}

/* Sends what is due; milliseconds until the next one is, or -1. */
static int send_due(void) {
  int64_t time = now(), first = INT64_MAX;
  for (size_t i = 0; i < count;) {
    int64_t at = orders[i].time;
    if (at != CX_KEEPER_END && at <= time) {
      kill(orders[i].target, orders[i].number);
      orders[i] = orders[--count];
      continue;
    }
    if (at != CX_KEEPER_END && at < first) first = at;
    i++;
  }
  if (first == INT64_MAX) return -1;
  int64_t ms = (first - time + 999999) / 1000000;
  return ms < INT_MAX ? (int)ms : INT_MAX;
}

static _Noreturn void end(void) {
  for (size_t i = 0; i < count; i++)
    if (orders[i].time == CX_KEEPER_END) kill(orders[i].target, orders[i].number);
  _exit(0);
}

static _Noreturn void keep(void) {
  struct pollfd in = {.fd = IN, .events = POLLIN};
  for (;;) {
    if (poll(&in, 1, send_due()) <= 0) continue;
    order o;
    ssize_t n = read(IN, &o, sizeof o);
    if (n == (ssize_t)sizeof o)
      take(&o);
    else if (n >= 0 || errno != EINTR)
      end();
  }
}

/* Lets go of all that is ours, and of what would end it together with us. */
static bool leave(int in) {
  struct sigaction normal = {.sa_handler = SIG_DFL};
  sigset_t none;
  sigemptyset(&none);
  for (int i = 1; i < NSIG; i++) sigaction(i, &normal, NULL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (setsid() < 0 || chdir("/") != 0) return false;
  if (dup2(in, IN) < 0 || fcntl(IN, F_SETFD, 0) != 0 || cx__close_from(IN + 1) != 0) return false;
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < IN; fd++)
    if (dup2(null, fd) < 0) close(fd);
  if (null > IN) close(null);
  return true;
}

/* ---- Our side -------------------------------------------------------------------------------- */

/* The pipe, at numbers that no standard stream has. */
static int open_pipe(void) {
  int ends[2];
  int rc = cx__pipe(ends);
  if (rc != 0) return rc;
  ours.in = fcntl(ends[0], F_DUPFD_CLOEXEC, IN);
  ours.out = ours.in < 0 ? -1 : fcntl(ends[1], F_DUPFD_CLOEXEC, IN);
  if (ours.out < 0 || fcntl(ours.out, F_SETFL, O_NONBLOCK) != 0) rc = -errno;
  close(ends[0]);
  close(ends[1]);
  return rc;
}

/* The keeper is the child of a child that ends at once: nobody who waits for all children of this
 * process meets it. */
static int start(void) {
  int how = 0;
  pid_t pid = fork();
  if (pid < 0) return -errno;
  if (pid == 0) {
    if (!leave(ours.in)) _exit(EIO);
    pid_t second = fork();
    if (second == 0) keep();
    _exit(second < 0 ? EAGAIN : 0);
  }
  while (waitpid(pid, &how, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(how)) return -WEXITSTATUS(how);
  return -EINTR;
}

static int make(void) {
  ours.in = ours.out = -1;
  int rc = open_pipe();
  if (rc == 0) rc = start();
  if (rc == 0) {
    ours.owner = getpid();
    return 0;
  }
  if (ours.in >= 0) close(ours.in);
  if (ours.out >= 0) close(ours.out);
  return rc;
}

int cx__keeper_open(void) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&lock);
  int rc = ours.owner == getpid() ? 0 : make();
  pthread_mutex_unlock(&lock);
  return rc;
}

void cx__keeper_leave(void) {
  close(ours.in);
  close(ours.out);
}

int cx__keeper_signal(pid_t target, int number, int64_t time) {
  const order o = {.time = time, .target = target, .number = number};
  return write(ours.out, &o, sizeof o) == (ssize_t)sizeof o ? 0 : -errno;
}
