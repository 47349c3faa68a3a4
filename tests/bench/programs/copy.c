/* copy PROGRAM [ARG...]: runs a program and copies the bytes between it and our own standard input
 * and output, as socat does: what standing in between costs at least. */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <unistd.h>

extern char **environ;

typedef struct {
  int from, to;
  size_t at, len;
  char data[64 * 1024];
} direction;

static bool start(char **argv, direction *in, direction *out) {
  int to_child[2], from_child[2];
  pid_t pid;
  posix_spawn_file_actions_t actions;
  if (pipe2(to_child, O_CLOEXEC) || pipe2(from_child, O_CLOEXEC)) return false;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to_child[0], 0);
  posix_spawn_file_actions_adddup2(&actions, from_child[1], 1);
  if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) != 0) return false;
  close(to_child[0]);
  close(from_child[1]);
  in->from = 0;
  in->to = to_child[1];
  out->from = from_child[0];
  out->to = 1;
  fcntl(in->to, F_SETFL, O_NONBLOCK);
  fcntl(out->to, F_SETFL, O_NONBLOCK);
  return true;
}

static void write_some(direction *d) {
  ssize_t n = write(d->to, d->data + d->at, d->len - d->at);
  if (n > 0) d->at += (size_t)n;
  if (d->at == d->len) d->at = d->len = 0;
}

/* false at the end of the input. */
static bool step(direction *d, short events) {
  if (d->len == 0) {
    ssize_t n = events ? read(d->from, d->data, sizeof d->data) : 1;
    if (n <= 0) return false;
    if (!events) return true;
    d->len = (size_t)n;
  }
  write_some(d);
  return true;
}

int main(int argc, char **argv) {
  static direction d[2];
  if (argc < 2 || !start(argv + 1, &d[0], &d[1])) return 1;
  for (;;) {
    struct pollfd fds[2];
    for (int i = 0; i < 2; i++)
      fds[i] =
          d[i].len ? (struct pollfd){d[i].to, POLLOUT, 0} : (struct pollfd){d[i].from, POLLIN, 0};
    if (poll(fds, 2, -1) < 0) return 1;
    if (!step(&d[1], fds[1].revents)) return 0;
    if (!step(&d[0], fds[0].revents)) {
      close(d[0].to);
      d[0].from = -1;
    }
  }
}
