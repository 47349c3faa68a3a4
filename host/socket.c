/* Listening Unix sockets and their files; see socket.h. */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "platform.h"

enum { BACKLOG = 64, LOCK_TRIES = 100, LOCK_PAUSE_MS = 10, NAMES = 100 };

/* Whether nobody listens at the address: a socket that an ended program left. */
static bool is_stale(const struct sockaddr_un *address) {
  struct stat found;
  if (lstat(address->sun_path, &found) != 0 || !S_ISSOCK(found.st_mode)) return false;
  int fd = cx__socket();
  if (fd < 0) return false;
  int rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
  bool stale = rc != 0 && errno == ECONNREFUSED;
  close(fd);
  return stale;
}

static int open_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  char *folder = slash == path ? strdup("/") : strndup(path, slash ? (size_t)(slash - path) : 0);
  if (!folder) return -1;
  int fd = open(*folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  return fd;
}

/* A socket that was left may be replaced by somebody else between a look and what follows: whoever
 * does this has the folder's lock. Who keeps that for long has another use for it, and is not
 * waited for: -1. */
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

/* A name of its own beside the path, which nobody looks for. A process of our number that crashed
 * in the middle of this, or one in another container, may have the first of them. */
static int bind_aside(const cx_socket *s, struct sockaddr_un *aside) {
  static atomic_int count;
  const char *slash = strrchr(s->path, '/');
  int folder = slash ? (int)(slash - s->path) + 1 : 0;
  for (int i = 0; i < NAMES; i++) {
    int n = snprintf(aside->sun_path, sizeof aside->sun_path, "%.*s.%d-%d", folder, s->path,
                     (int)getpid(), count++);
    if (n < 0 || (size_t)n >= sizeof aside->sun_path) return -ENAMETOOLONG;
    if (bind(s->fd, (const struct sockaddr *)aside, sizeof *aside) == 0) return 0;
    if (errno != EADDRINUSE) return -errno;
  }
  return -EADDRINUSE;
}

/* Gives a socket that is listened on its name: who sees the file can connect. */
static int take_name(const char *aside, const struct sockaddr_un *address) {
  if (link(aside, address->sun_path) == 0) return unlink(aside) == 0 ? 0 : -errno;
  if (errno != EEXIST) return -errno;
  if (!is_stale(address)) return -EADDRINUSE;
  return rename(aside, address->sun_path) == 0 ? 0 : -errno;
}

static int listen_as(cx_socket *s, const struct sockaddr_un *address) {
  struct sockaddr_un aside = {.sun_family = AF_UNIX};
  int rc = bind_aside(s, &aside);
  if (rc != 0) return rc;
  rc = cx__socket_file_set_mode(aside.sun_path);
  bool listens = rc == 0 && lstat(aside.sun_path, &s->made) == 0 && listen(s->fd, BACKLOG) == 0;
  if (rc == 0) rc = listens ? take_name(aside.sun_path, address) : -errno;
  if (rc != 0) unlink(aside.sun_path);
  return rc;
}

/* The file gets its mode before it is listened on, so that nobody can connect in between. */
int cx_socket_listen(cx_socket *s, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  *s = (cx_socket){.fd = -1};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  if (!*path) return -ENOENT;
  memcpy(address.sun_path, path, strlen(path));
  s->path = strdup(path);
  if (!s->path) return -ENOMEM;
  s->fd = cx__socket();
  if (s->fd < 0) return s->fd;
  int rc = cx__socket_set_mode(s->fd);
  if (rc != 0) return rc;
  int lock = lock_folder(path);
  rc = listen_as(s, &address);
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
