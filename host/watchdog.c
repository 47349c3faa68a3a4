/* A process that is ended from outside of Lua; see watchdog.h. */
#include "watchdog.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "platform.h"

enum { TEXT = 512, SECOND = 1000000000 };

/* Read by a signal handler; what it says must be ready before. */
static struct {
  bool open;
  int code;
  char text[TEXT];
  cx_alarm warning, kill;
} dog;

static void on_watchdog_warning(int number) {
  (void)number;
  ssize_t n = write(STDERR_FILENO, dog.text, strlen(dog.text));
  (void)n; /* nobody is left to be told */
  _exit(dog.code);
}

static int start(void) {
  struct sigaction action = {.sa_handler = on_watchdog_warning};
  if (sigaction(SIGALRM, &action, NULL) != 0) return -errno;
  int rc = cx__alarm_open(&dog.warning, SIGALRM);
  if (rc == 0) rc = cx__alarm_open(&dog.kill, SIGKILL);
  dog.open = rc == 0;
  return rc;
}

int cx_watchdog_open(int code, const char *text) {
  dog.code = code;
  snprintf(dog.text, TEXT, "%s", text);
  return dog.open ? 0 : start();
}

void cx_watchdog_at(int64_t time) {
  if (!dog.open) return;
  cx__alarm_set(&dog.warning, time);
  cx__alarm_set(&dog.kill, time ? time + SECOND : 0);
}
