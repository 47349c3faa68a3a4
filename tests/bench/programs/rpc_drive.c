/* rpc_drive TURNS BYTES AT_ONCE COMMAND... [:: COMMAND...]...: talks to several servers that echo
 * the params of a request. In each turn each of them in its turn is sent AT_ONCE requests of so
 * many bytes and has to answer them all, so that whatever else the machine does falls on all alike.
 *
 * Prints for each command: the median and the 99th percentile of its turns, and all of them
 * together, in nanoseconds; and how many bytes went both ways. */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { MOST = 8, FIRST_ID = 1000000, WARM_UP = 200 << 10 };

typedef struct {
  int to, from;
  pid_t pid;
  long long *turns, total, bytes;
} server;

static char *requests;
static size_t size, length;
static int at_once;

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void start(server *s, char **argv) {
  int in[2], out[2];
  posix_spawn_file_actions_t actions;
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) fail("pipe2");
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  if (posix_spawnp(&s->pid, argv[0], &actions, NULL, argv, environ) != 0) fail(argv[0]);
  close(in[0]);
  close(out[1]);
  s->to = in[1];
  s->from = out[0];
  fcntl(s->to, F_SETFL, O_NONBLOCK);
}

/* All requests of a turn, each with an id of its own. */
static void make_requests(void) {
  length = size * (size_t)at_once;
  requests = malloc(length + 1);
  memset(requests, 'x', length);
  for (int i = 0; i < at_once; i++) {
    char head[80], *at = requests + (size_t)i * size;
    int n = snprintf(head, sizeof head,
                     "{\"method\":\"bench/echo\",\"id\":%d,\"params\":{\"text\":\"", FIRST_ID + i);
    memcpy(at, head, (size_t)n);
    memcpy(at + size - 4, "\"}}\n", 4);
  }
}

static int read_answers(server *s) {
  static char buffer[256 * 1024];
  int lines = 0;
  ssize_t n = read(s->from, buffer, sizeof buffer);
  if (n <= 0) fail("a server ended");
  for (char *at = buffer; (at = memchr(at, '\n', (size_t)(buffer + n - at))); at++) lines++;
  s->bytes += n;
  return lines;
}

static void take_turn(server *s) {
  size_t written = 0;
  for (int answered = 0; answered < at_once;) {
    if (written < length) {
      ssize_t n = write(s->to, requests + written, length - written);
      if (n > 0) written += (size_t)n;
    }
    struct pollfd fds[2] = {{s->from, POLLIN, 0}, {s->to, POLLOUT, 0}};
    if (poll(fds, written < length ? 2 : 1, 20000) <= 0) fail("a server does not answer");
    if (fds[0].revents) answered += read_answers(s);
  }
  s->bytes += (long long)length;
}

static int compare(const void *a, const void *b) {
  long long x = *(const long long *)a, y = *(const long long *)b;
  return (x > y) - (x < y);
}

static void report(server *s, int turns) {
  int status;
  qsort(s->turns, (size_t)turns, sizeof *s->turns, compare);
  printf("%lld %lld %lld %lld\n", s->turns[turns / 2], s->turns[turns * 99 / 100], s->total,
         s->bytes);
  close(s->to);
  while (read(s->from, requests, 1) > 0) continue;
  waitpid(s->pid, &status, 0);
}

static int start_all(server *servers, char **argv, int turns) {
  int count = 0;
  while (*argv && count < MOST) {
    char **end = argv;
    while (*end && strcmp(*end, "::") != 0) end++;
    bool more = *end;
    *end = NULL;
    servers[count].turns = calloc((size_t)turns, sizeof(long long));
    start(&servers[count++], argv);
    argv = more ? end + 1 : end;
  }
  return count;
}

int main(int argc, char **argv) {
  server servers[MOST] = {0};
  if (argc < 5) return 2;
  int turns = atoi(argv[1]);
  size = (size_t)atoi(argv[2]);
  at_once = atoi(argv[3]);
  if (turns < 1 || size < 100 || at_once < 1) return 2;
  make_requests();
  int count = start_all(servers, argv + 4, turns);
  for (size_t done = 0; done < WARM_UP; done += length)
    for (int k = 0; k < count; k++) take_turn(&servers[k]);
  for (int k = 0; k < count; k++) servers[k].bytes = 0;
  for (int i = 0; i < turns; i++)
    for (int k = 0; k < count; k++) {
      server *s = &servers[(i + k) % count];
      long long from = now_ns();
      take_turn(s);
      s->turns[i] = now_ns() - from;
      s->total += s->turns[i];
    }
  for (int k = 0; k < count; k++) report(&servers[k], turns);
  return 0;
}
