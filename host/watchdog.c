/* A process that is ended from outside of Lua; see watchdog.h. */
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TEXT = 512, SECOND = 1000000000 };

/* Read by a signal handler; what it says must be ready before. */
static struct {
  bool open;
  int code;
  char text[TEXT], record[TEXT], path[PATH_MAX];
  timer_t warning, kill;
} dog;

static void say(int fd, const char *text) {
  ssize_t n = write(fd, text, strlen(text));
  (void)n; /* nobody is left to be told */
}

static void on_warning(int number) {
  (void)number;
  say(STDERR_FILENO, dog.text);
  int fd = dog.path[0] ? open(dog.path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0600) : -1;
  if (fd >= 0) say(fd, dog.record);
  _exit(dog.code);
}

static int make_timer(timer_t *timer, int number) {
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = number};
  return timer_create(CLOCK_MONOTONIC, &event, timer) == 0 ? 0 : -errno;
}

static int start(void) {
  struct sigaction action = {.sa_handler = on_warning};
  if (sigaction(SIGALRM, &action, NULL) != 0) return -errno;
  int rc = make_timer(&dog.warning, SIGALRM);
  if (rc == 0) rc = make_timer(&dog.kill, SIGKILL);
  dog.open = rc == 0;
  return rc;
}

int cx_watchdog_open(int code, const char *text, const char *path, const char *record) {
  dog.code = code;
  snprintf(dog.text, TEXT, "%s", text);
  snprintf(dog.record, TEXT, "%s", record ? record : "");
  snprintf(dog.path, sizeof dog.path, "%s", path ? path : "");
  return dog.open ? 0 : start();
}

static void set(timer_t timer, int64_t time) {
  struct itimerspec at = {.it_value = {.tv_sec = time / SECOND, .tv_nsec = time % SECOND}};
  timer_settime(timer, TIMER_ABSTIME, &at, NULL);
}

void cx_watchdog_at(int64_t time) {
  if (!dog.open) return;
  set(dog.warning, time);
  set(dog.kill, time ? time + SECOND : 0);
}
