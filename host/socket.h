/* A Unix socket that is listened on, and its file. */
#ifndef CX_SOCKET_H
#define CX_SOCKET_H

#include <sys/stat.h>

typedef struct cx_socket {
  int fd;           /* non-blocking, close-on-exec; -1 when closed */
  char *path;       /* of its file */
  struct stat made; /* its file, so that nobody else's is removed */
} cx_socket;

/* Listens at a path; only this user can connect, and who sees the file can. A socket file that an
 * ended program left there is replaced; of several programs that do so at a time one listens. 0, or
 * a negative errno: -EADDRINUSE where somebody listens, or where something else is; -ENAMETOOLONG
 * also where there is no place in the folder's name for a dozen letters more. */
int cx_socket_listen(cx_socket *s, const char *path);

/* Removes the file if it is still ours. */
void cx_socket_remove(const cx_socket *s);

void cx_socket_close(cx_socket *s);

#endif
