/* Reads JSON into Lua by way of a tree: what a host does that takes cJSON as it is. */
#include <cjson/cJSON.h>
#include <lauxlib.h>
#include <string.h>

static void push(lua_State *L, const cJSON *item);

static int count(const cJSON *item) {
  int n = 0;
  for (const cJSON *child = item->child; child; child = child->next) n++;
  return n;
}

static void push_array(lua_State *L, const cJSON *item) {
  lua_Integer n = 0;
  lua_createtable(L, count(item), 0);
  for (const cJSON *child = item->child; child; child = child->next) {
    push(L, child);
    lua_rawseti(L, -2, ++n);
  }
}

static void push_object(lua_State *L, const cJSON *item) {
  lua_createtable(L, 0, count(item));
  for (const cJSON *child = item->child; child; child = child->next) {
    lua_pushlstring(L, child->string, strlen(child->string));
    push(L, child);
    lua_rawset(L, -3);
  }
}

static void push(lua_State *L, const cJSON *item) {
  luaL_checkstack(L, 8, "JSON");
  if (cJSON_IsString(item))
    lua_pushlstring(L, item->valuestring, strlen(item->valuestring));
  else if (cJSON_IsNumber(item))
    lua_pushnumber(L, item->valuedouble);
  else if (cJSON_IsBool(item))
    lua_pushboolean(L, cJSON_IsTrue(item));
  else if (cJSON_IsArray(item))
    push_array(L, item);
  else if (cJSON_IsObject(item))
    push_object(L, item);
  else
    lua_pushlightuserdata(L, NULL);
}

static int decode(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  cJSON *tree = cJSON_ParseWithLength(text, n);
  if (!tree) return luaL_error(L, "not JSON");
  push(L, tree);
  cJSON_Delete(tree);
  return 1;
}

int luaopen_cjson_tree(lua_State *L);

int luaopen_cjson_tree(lua_State *L) {
  lua_pushcfunction(L, decode);
  return 1;
}
