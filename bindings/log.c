/* The host's one log for Lua: write, level, secrets, redaction. */
#include "log.h"

#include "bind.h"
#include "err.h"
#include "modules.h"
#include "naming.h"

static int level_arg(lua_State *L, int index) {
  const char *name = luaL_checkstring(L, index);
  int level = cx_log_level_of(name);
  luaL_argcheck(L, level >= 0, index, "not a log level: debug, info, warn, error, off");
  return level;
}

/* write(level, text) */
static int log_write(lua_State *L) {
  int level = level_arg(L, 1);
  cx_log_write(cx_bind_env(L)->log, (cx_log_level)level, "%s", luaL_checkstring(L, 2));
  return 0;
}

/* level([new]) -> the level in force before */
static int log_level(lua_State *L) {
  cx_log *log = cx_bind_env(L)->log;
  lua_pushstring(L, cx_log_level_name(log->level));
  if (!lua_isnoneornil(L, 1)) log->level = (cx_log_level)level_arg(L, 1);
  return 1;
}

/* secret(text): never to be written */
static int log_secret(lua_State *L) {
  int rc = cx_log_secret(cx_bind_env(L)->log, luaL_checkstring(L, 1));
  return rc ? cx_bind_fail(L, rc) : 0;
}

/* redact(text) -> the text without secrets */
static int log_redact(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  cx_buf out = {0};
  int rc = cx_log_redact(cx_bind_env(L)->log, text, n, &out);
  if (rc != 0) {
    cx_buf_free(&out);
    return cx_bind_fail(L, rc);
  }
  cx_bind_push_buf(L, &out);
  return 1;
}

/* is_secret(name[, value]): whether what stands behind this name is a secret */
static int log_is_secret(lua_State *L) {
  cx_span name, value = {0};
  name.at = luaL_checklstring(L, 1, &name.n);
  if (!lua_isnoneornil(L, 2)) value.at = luaL_checklstring(L, 2, &value.n);
  lua_pushboolean(L, cx_naming_is_secret(name) || (value.at && cx_naming_may_be_secret(name) &&
                                                   cx_naming_is_telling(value)));
  return 1;
}

static const luaL_Reg functions[] = {{"write", log_write},         {"level", log_level},
                                     {"secret", log_secret},       {"redact", log_redact},
                                     {"is_secret", log_is_secret}, {NULL, NULL}};

int luaopen_codex_core_log(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
