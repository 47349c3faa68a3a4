/* Listening Unix sockets and their files; see socket.h. */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 64, LOCK_TRIES = 100, LOCK_PAUSE_MS = 10 };

/* Whether nobody listens at the address: a socket that an ended program left. */
static bool is_stale(const struct sockaddr_un *address) {
  struct stat found;
  if (lstat(address->sun_path, &found) != 0 || !S_ISSOCK(found.st_mode)) return false;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  int rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
  bool stale = rc != 0 && errno == ECONNREFUSED;
  close(fd);
  return stale;
}

static int bind_socket(int fd, const struct sockaddr_un *address) {
  const struct sockaddr *to = (const struct sockaddr *)address;
  if (bind(fd, to, sizeof *address) == 0) return 0;
  if (errno != EADDRINUSE) return -errno;
  if (!is_stale(address)) return -EADDRINUSE;
  if (unlink(address->sun_path) != 0 && errno != ENOENT) return -errno;
  return bind(fd, to, sizeof *address) == 0 ? 0 : -errno;
}

static int open_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  char *folder = slash == path ? strdup("/") : strndup(path, slash ? (size_t)(slash - path) : 0);
  if (!folder) return -1;
  int fd = open(*folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  return fd;
}

/* Until a socket is listened on it looks like one that was left, and one that was left may be
 * replaced by somebody else between a look and what follows: whoever does this has the folder's
 * lock. Who keeps that for long has another use for it, and is not waited for: -1. */
static int lock_folder(const char *path) {
  static const struct timespec pause = {0, LOCK_PAUSE_MS * 1000000L};
  int fd = open_folder(path);
  for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno != EWOULDBLOCK && errno != EINTR) break;
    nanosleep(&pause, NULL);
  }
  if (fd >= 0) close(fd);
  return -1;
}

static int bind_and_listen(cx_socket *s, const struct sockaddr_un *address) {
  int rc = bind_socket(s->fd, address);
  if (rc != 0) return rc;
  if (lstat(s->path, &s->made) == 0 && listen(s->fd, BACKLOG) == 0) return 0;
  rc = -errno;
  cx_socket_remove(s);
  return rc;
}

/* The file gets the mode that the descriptor has before it is bound, so that nobody can connect in
 * between. */
int cx_socket_listen(cx_socket *s, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  *s = (cx_socket){.fd = -1};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  if (!*path) return -ENOENT;
  memcpy(address.sun_path, path, strlen(path));
  s->path = strdup(path);
  if (!s->path) return -ENOMEM;
  s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (s->fd < 0 || fchmod(s->fd, S_IRUSR | S_IWUSR) != 0) return -errno;
  int lock = lock_folder(path);
  int rc = bind_and_listen(s, &address);
  if (lock >= 0) close(lock);
  return rc;
}

void cx_socket_remove(const cx_socket *s) {
  struct stat found;
  if (lstat(s->path, &found) == 0 && found.st_ino == s->made.st_ino &&
      found.st_dev == s->made.st_dev)
    unlink(s->path);
}

void cx_socket_close(cx_socket *s) {
  if (s->fd >= 0) close(s->fd);
  free(s->path);
  *s = (cx_socket){.fd = -1};
}
