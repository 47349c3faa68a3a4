/* What not every Unix has, and another way of doing it; see platform.h. */
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef CX_NO_MALLOPT
#include <malloc.h>
#endif
#ifndef CX_NO_PIDFD
#include <sys/syscall.h>
#endif
#ifndef CX_NO_PDEATHSIG
#include <sys/prctl.h>
#endif
#ifndef CX_NO_GETRANDOM
#include <sys/random.h>
#endif

#include "keeper.h"

enum { SECOND = 1000000000, HIGHEST = 1 << 20 /* no more descriptors are looked at one by one */ };

static int rc_of(int result) { return result < 0 ? -errno : result; }

/* ---- Descriptors ----------------------------------------------------------------------------- */

#ifdef CX_NO_CLOEXEC_FLAGS
static bool set_flags(int fd, bool is_waiting) {
  int flags = fcntl(fd, F_GETFL);
  return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
         (is_waiting || (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0));
}

static int with_flags(int fd) {
  if (fd < 0 || set_flags(fd, false)) return rc_of(fd);
  int rc = -errno;
  close(fd);
  return rc;
}

int cx__pipe(int ends[2]) {
  if (pipe(ends) != 0) return -errno;
  if (set_flags(ends[0], true) && set_flags(ends[1], true)) return 0;
  int rc = -errno;
  close(ends[0]);
  close(ends[1]);
  return rc;
}

int cx__socket(void) { return with_flags(socket(AF_UNIX, SOCK_STREAM, 0)); }

int cx__accept(int fd) { return with_flags(accept(fd, NULL, NULL)); }
#else
int cx__pipe(int ends[2]) { return rc_of(pipe2(ends, O_CLOEXEC)); }

int cx__socket(void) {
  return rc_of(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

int cx__accept(int fd) { return rc_of(accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)); }
#endif

#ifdef CX_NO_SOCKET_MODE
int cx__socket_set_mode(int fd) {
  (void)fd;
  return 0;
}

int cx__socket_file_set_mode(const char *path) { return rc_of(chmod(path, S_IRUSR | S_IWUSR)); }
#else
int cx__socket_set_mode(int fd) { return rc_of(fchmod(fd, S_IRUSR | S_IWUSR)); }

int cx__socket_file_set_mode(const char *path) {
  (void)path;
  return 0;
}
#endif

static int close_one(int fd, bool is_closed) {
  int rc = is_closed ? close(fd) : fcntl(fd, F_SETFD, FD_CLOEXEC);
  return rc == 0 || errno == EBADF || errno == EINTR ? 0 : -errno;
}

/* poll knows which descriptors are open, a thousand at a time. One that is above our limit, because
 * that was lowered since, is not seen. */
static int leave_each(int first, bool is_closed) {
  enum { MANY = 1024 };
  struct pollfd fds[MANY];
  long all = sysconf(_SC_OPEN_MAX);
  int last = all < 0 || all > HIGHEST ? HIGHEST : (int)all;
  for (int from = first; from < last; from += MANY) {
    nfds_t n = 0;
    for (; n < MANY && from + (int)n < last; n++) fds[n] = (struct pollfd){.fd = from + (int)n};
    int rc;
    do rc = poll(fds, n, 0);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) return -errno;
    for (nfds_t i = 0; i < n; i++) {
      rc = fds[i].revents & POLLNVAL ? 0 : close_one(fds[i].fd, is_closed);
      if (rc != 0) return rc;
    }
  }
  return 0;
}

int cx__close_from(int first) {
#ifndef CX_NO_CLOSE_RANGE
  if (close_range((unsigned)first, ~0U, 0) == 0) return 0;
#endif
  return leave_each(first, true);
}

/* Linux before 5.11 cannot do it at once, either. */
int cx__cloexec_from(int first) {
#ifndef CX_NO_CLOSE_RANGE
  if (close_range((unsigned)first, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return 0;
#endif
  return leave_each(first, false);
}

/* ---- Processes ------------------------------------------------------------------------------- */

int cx__pidfd(pid_t pid) {
#ifdef CX_NO_PIDFD
  (void)pid;
  return -ENOSYS;
#else
  return rc_of((int)syscall(SYS_pidfd_open, pid, 0));
#endif
}

pid_t cx__bare_fork(void) {
#ifdef CX_NO_BARE_FORK
  return fork();
#else
  return _Fork();
#endif
}

#ifdef CX_NO_PDEATHSIG
int cx__bound_open(void) { return cx__keeper_open(); }

int cx__bound_to(pid_t parent, bool has_group) {
  pid_t me = getpid();
  int rc = cx__keeper_signal(has_group ? -me : me, SIGKILL, CX_KEEPER_END);
  cx__keeper_leave();
  return rc == 0 && getppid() != parent ? -ESRCH : rc;
}

void cx__bound_forget(pid_t child, bool has_group) {
  cx__keeper_signal(has_group ? -child : child, SIGKILL, CX_KEEPER_NEVER);
}
#else
int cx__bound_open(void) { return 0; }

static void on_orphaned(int number) {
  (void)number;
  kill(0, SIGKILL);
}

int cx__bound_to(pid_t parent, bool has_group) {
  struct sigaction orphaned = {.sa_handler = on_orphaned};
  if (has_group && sigaction(SIGRTMIN, &orphaned, NULL) != 0) return -errno;
  if (prctl(PR_SET_PDEATHSIG, has_group ? SIGRTMIN : SIGKILL) != 0) return -errno;
  return getppid() == parent ? 0 : -ESRCH; /* it ended before the request was in force */
}

void cx__bound_forget(pid_t child, bool has_group) {
  (void)child;
  (void)has_group;
}
#endif

#ifdef CX_NO_TIMER_CREATE
int cx__alarm_open(cx_alarm *alarm, int number) {
  alarm->number = number;
  return cx__keeper_open();
}

void cx__alarm_set(const cx_alarm *alarm, int64_t time) {
  int rc = cx__keeper_signal(getpid(), alarm->number, time ? time : CX_KEEPER_NEVER);
  if (rc != 0 && time) kill(getpid(), alarm->number);
}
#else
int cx__alarm_open(cx_alarm *alarm, int number) {
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = number};
  alarm->number = number;
  return rc_of(timer_create(CLOCK_MONOTONIC, &event, &alarm->timer));
}

void cx__alarm_set(const cx_alarm *alarm, int64_t time) {
  struct itimerspec at = {.it_value = {.tv_sec = time / SECOND, .tv_nsec = time % SECOND}};
  if (timer_settime(alarm->timer, TIMER_ABSTIME, &at, NULL) != 0 && time)
    kill(getpid(), alarm->number);
}
#endif

#ifdef CX_NO_PROC_STAT
int64_t cx__age_ms(pid_t pid) {
  (void)pid;
  return -1;
}
#else
int64_t cx__age_ms(pid_t pid) {
  enum { FIELDS = 20 }; /* from the one after the name to the time of the start */
  char text[1024];
  snprintf(text, sizeof text, "/proc/%d/stat", (int)pid);
  int fd = open(text, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  text[n > 0 ? n : 0] = '\0';
  const char *at = strrchr(text, ')');
  for (int i = 0; at && i < FIELDS; i++) at = strchr(at + 1, ' ');
  struct timespec now;
  if (!at || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return -1;
  int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
  return ms - atoll(at) * 1000 / sysconf(_SC_CLK_TCK);
}
#endif

/* ---- Our program ----------------------------------------------------------------------------- */

#ifdef CX_NO_PROC_EXE
static char program[PATH_MAX];

/* As a shell finds it, but not in folders that are relative to where we are. */
static void find_in_path(const char *name) {
  const char *at = getenv("PATH");
  while (at && *at && !*program) {
    char path[PATH_MAX];
    size_t n = strcspn(at, ":");
    int length = *at == '/' ? snprintf(path, sizeof path, "%.*s/%s", (int)n, at, name) : -1;
    bool is_it = length > 0 && length < PATH_MAX && access(path, X_OK) == 0;
    if (is_it && !realpath(path, program)) *program = '\0';
    at += n + (at[n] == ':');
  }
}

void cx__program_is(const char *name) {
  if (!name || !*name) return;
  if (!strchr(name, '/'))
    find_in_path(name);
  else if (!realpath(name, program))
    *program = '\0';
}

const char *cx__program(void) { return program; }
const char *cx__program_name(void) { return program; }

void cx__program_path(char path[PATH_MAX]) { memcpy(path, program, PATH_MAX); }
#else
void cx__program_is(const char *name) { (void)name; }

const char *cx__program(void) { return "/proc/self/exe"; }
const char *cx__program_name(void) { return "codex-lua"; }

void cx__program_path(char path[PATH_MAX]) {
  ssize_t n = readlink(cx__program(), path, PATH_MAX - 1);
  path[n > 0 ? n : 0] = '\0';
}
#endif

/* ---- Memory ---------------------------------------------------------------------------------- */

int cx__random(void *bytes, size_t n) {
#ifdef CX_NO_GETRANDOM
  int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t got = read(fd, bytes, n);
  int rc = got == (ssize_t)n ? 0 : got < 0 ? -errno : -EAGAIN;
  close(fd);
  return rc;
#else
  ssize_t got = getrandom(bytes, n, GRND_NONBLOCK);
  return got == (ssize_t)n ? 0 : got < 0 ? -errno : -EAGAIN;
#endif
}

void *cx__map(size_t n) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifndef CX_NO_MAP_POPULATE
  flags |= MAP_POPULATE; /* to be given each page at its first touch takes longer */
#endif
  void *bytes = mmap(NULL, n, PROT_READ | PROT_WRITE, flags, -1, 0);
  return bytes == MAP_FAILED ? NULL : bytes;
}

void cx__keep_memory(int bytes) {
#ifdef CX_NO_MALLOPT
  (void)bytes;
#else
  mallopt(M_MMAP_THRESHOLD, bytes);
  mallopt(M_TRIM_THRESHOLD, bytes);
#endif
}

void cx__wipe(void *bytes, size_t n) {
#ifdef CX_NO_EXPLICIT_BZERO
  for (volatile char *at = bytes; n > 0; n--) *at++ = 0;
#else
  explicit_bzero(bytes, n);
#endif
}

const char *cx__last(const char *bytes, char c, size_t n) {
#ifdef CX_NO_MEMRCHR
  while (n > 0)
    if (bytes[--n] == c) return bytes + n;
  return NULL;
#else
  return memrchr(bytes, c, n);
#endif
}

const char *cx__find(const char *bytes, size_t n, const char *word, size_t length) {
#ifdef CX_NO_MEMMEM
  for (const char *at = bytes, *end = bytes + n; (size_t)(end - at) >= length; at++) {
    at = memchr(at, *word, (size_t)(end - at) - length + 1);
    if (!at) return NULL;
    if (memcmp(at, word, length) == 0) return at;
  }
  return NULL;
#else
  return memmem(bytes, n, word, length);
#endif
}
