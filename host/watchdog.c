/* A process that is ended from outside of Lua; see watchdog.h. */
#include "watchdog.h"

#include <errno.h>
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
  char text[TEXT];
  timer_t warning, kill;
} dog;

static void on_warning(int number) {
  (void)number;
  ssize_t n = write(STDERR_FILENO, dog.text, strlen(dog.text));
  (void)n; /* nobody is left to be told */
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

int cx_watchdog_open(int code, const char *text) {
  dog.code = code;
  snprintf(dog.text, TEXT, "%s", text);
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
