/* codex.core.lock: the kernel's lock on an open file, which ends with its holder, however that
 * ends. */
#include <errno.h>
#include <sys/file.h>

#include "bind.h"
#include "modules.h"

/* take(fd) -> whether it is ours now; false: somebody else holds it; nil, name, text: an error */
static int lock_take(lua_State *L) {
  int fd = cx_check_fd(L, 1), rc;
  do rc = flock(fd, LOCK_EX | LOCK_NB);
  while (rc != 0 && errno == EINTR);
  if (rc != 0 && errno != EWOULDBLOCK) return cx_bind_fail(L, -errno);
  lua_pushboolean(L, rc == 0);
  return 1;
}

static const luaL_Reg functions[] = {{"take", lock_take}, {NULL, NULL}};

int luaopen_codex_core_lock(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
