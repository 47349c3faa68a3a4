/* Line editing on the terminal for the prompt, by libedit; a loadable module, because only the
 * prompt needs it.
 *
 * libedit reads the keyboard only when the loop says that there is something to read, so that tasks
 * go on while the user thinks. There is one terminal, hence at most one editor in a process. */
#include <editline/readline.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "bind.h"

int luaopen_codex_core_edit(lua_State *L);

static const char type[] = "codex.edit";

typedef struct {
  uv_poll_t poll;
  int fd;
} watch;

typedef struct {
  watch *keys; /* NULL when closed */
  cx_env *env;
  cx_live live;
  int on_line, self_ref;
  char *line; /* what was entered, NULL at the end of input */
  bool entered;
} editor;

static editor *the_editor; /* libedit has no place for a pointer of ours */

static int push_line(lua_State *L, void *arg) {
  const editor *e = arg;
  if (e->line)
    lua_pushstring(L, e->line);
  else
    lua_pushnil(L);
  return 1;
}

/* libedit is in the middle of its work here; Lua hears of the line when that is done. */
static void on_line(char *line) {
  if (line && *line) add_history(line);
  the_editor->line = line;
  the_editor->entered = true;
}

static void edit_on_closed(uv_handle_t *handle) {
  editor *e = handle->data;
  watch *keys = (watch *)handle;
  close(keys->fd);
  cx_live_remove(&e->live);
  cx_bind_unpin(e->env, &e->on_line);
  cx_bind_unpin(e->env, &e->self_ref);
  free(keys);
}

static void close_editor(void *object) {
  editor *e = object;
  if (!e->keys) return;
  rl_callback_handler_remove();
  uv_close((uv_handle_t *)&e->keys->poll, edit_on_closed);
  e->keys = NULL;
  the_editor = NULL;
}

static void on_keys(uv_poll_t *keys, int status, int events) {
  (void)status;
  (void)events;
  editor *e = keys->data;
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  if (poll(&input, 1, 0) <= 0) return; /* it would wait for a key */
  rl_callback_read_char();
  if (!e->entered) return;
  close_editor(e);
  cx_bind_call(e->env, e->on_line, push_line, e);
  free(e->line);
  e->line = NULL;
}

/* libuv has what it polls never block. Standard input is one open file with standard output and
 * with the shell that started us, so the terminal is opened anew for that. */
static int open_watch(uv_loop_t *loop, watch **out) {
  const char *name = ttyname(STDIN_FILENO);
  int fd = open(name ? name : "/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return -errno;
  watch *keys = calloc(1, sizeof *keys);
  int rc = keys ? uv_poll_init(loop, &keys->poll, fd) : -ENOMEM;
  if (!keys || rc != 0) {
    close(fd);
    free(keys);
    return rc;
  }
  keys->fd = fd;
  *out = keys;
  return 0;
}

/* read(prompt, on_line(line | nil at end of input)) -> editor | nil, name, text. It closes itself
 * when a line was entered, so that the terminal is an ordinary one while the line is worked on. */
static int edit_read(lua_State *L) {
  const char *prompt = cx_check_text(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  editor *e = cx_bind_new(L, type, sizeof *e);
  if (the_editor) return luaL_error(L, "the terminal is being edited already");
  e->env = cx_bind_env(L);
  int rc = open_watch(e->env->loop, &e->keys);
  if (rc != 0) return cx_bind_fail(L, rc);
  e->keys->poll.data = e;
  e->on_line = cx_bind_pin(L, 2);
  e->self_ref = cx_bind_pin(L, -1);
  e->live = (cx_live){.type = type, .close = close_editor, .object = e};
  cx_live_add(e->env, &e->live);
  the_editor = e;
  rl_callback_handler_install(prompt, on_line);
  uv_poll_start(&e->keys->poll, UV_READABLE, on_keys);
  return 1;
}

static int edit_close(lua_State *L) {
  close_editor(luaL_checkudata(L, 1, type));
  return 0;
}

/* load(path), save(path): the history */
static int edit_load(lua_State *L) {
  using_history();
  lua_pushboolean(L, read_history(cx_check_text(L, 1)) == 0);
  return 1;
}

static int edit_save(lua_State *L) {
  stifle_history(1000);
  lua_pushboolean(L, write_history(cx_check_text(L, 1)) == 0);
  return 1;
}

static const luaL_Reg methods[] = {{"close", edit_close}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__close", edit_close}, {NULL, NULL}};
static const luaL_Reg functions[] = {
    {"read", edit_read}, {"load", edit_load}, {"save", edit_save}, {NULL, NULL}};

int luaopen_codex_core_edit(lua_State *L) {
  cx_bind_type(L, type, methods, meta);
  luaL_newlib(L, functions);
  return 1;
}
