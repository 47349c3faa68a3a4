/* The strict reader and the one that makes Lua values agree: where one refuses a text, the other
 * refuses it for the same at the same byte, unless it is one of the things that only the strict one
 * minds. What is read is written as a text that reads as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "err.h"
#include "modules.h"
#include "parse.h"
#include "scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DECODE = 1, ENCODE = 2 }; /* where the functions are on the stack */

static lua_State *open_state(void) {
  lua_State *L = luaL_newstate();
  if (!L) abort();
  luaL_openlibs(L);
  luaopen_codex_core_json(L);
  lua_getfield(L, 1, "decode");
  lua_getfield(L, 1, "encode");
  lua_remove(L, 1);
  return L;
}

static bool is_one_of(const char *what, const char *const *list) {
  for (; *list; list++)
    if (strcmp(what, *list) == 0) return true;
  return false;
}

static void compare(int strict, const cx_fault *minded, int ours, const cx_fault *fault) {
  static const char *const limits[] = {"an object with a name twice", "half of a surrogate pair",
                                       "a name that Codex reads as something else", NULL};
  if (strict == 0 && ours != 0) abort();
  if (strict == 0 || strict == CX_EDEPTH || strict == CX_ETOOMANY) return;
  if (is_one_of(minded->what, limits)) return;
  if (ours != strict || fault->at != minded->at || strcmp(fault->what, minded->what) != 0) abort();
}

/* Stack: a value; takes it. Nothing but an infinity, as 1e999 is one, cannot be written. */
static void same_again(lua_State *L) {
  lua_pushvalue(L, ENCODE);
  lua_insert(L, -2);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    if (!strstr(lua_tostring(L, -1), "inf cannot be written")) abort();
    return;
  }
  lua_pushvalue(L, ENCODE);
  lua_pushvalue(L, DECODE);
  lua_pushvalue(L, -3);
  for (int i = 0; i < 2; i++) /* read, and written */
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) abort();
  if (!lua_rawequal(L, -1, -2)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lua_State *L;
  const char *text = (const char *)data;
  cx_fault minded, fault;
  if (!L) L = open_state();
  int strict = cx_scan(text, size, NULL, NULL, &minded);
  int ours = cx_parse_json(L, text, size, CX_SCAN_VALUES, &fault);
  if ((ours == 0) != (fault.what == NULL) || fault.at > size) abort();
  compare(strict, &minded, ours, &fault);
  if (ours == 0) same_again(L);
  lua_settop(L, ENCODE);
  return 0;
}
