/* The HTTP client for Lua: transfers, each with one function that is told when to look at it.
 *
 * A loadable module (codex/core/http.so): the program itself does not need libcurl. The client's
 * userdata is pinned until it has closed, a transfer's until it has ended; what came before that
 * can be read as long as the userdata lives. */
#include "http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "err.h"

static const char type[] = "codex.http", transfer_type[] = "codex.http.transfer";
enum { MAX_HEADERS = 64 };

typedef struct {
  cx_http *http; /* NULL before it opens and after it has closed */
  cx_env *env;
  cx_live live;
  int self_ref;
} client;

typedef struct {
  cx_transfer *core; /* NULL before it opens */
  cx_env *env;
  int self_ref, handler_ref; /* LUA_NOREF once it has ended */
} transfer;

int luaopen_codex_core_http(lua_State *L);

/* ---- Events from the core ------------------------------------------------------------------ */

static void http_on_closed(void *user) {
  client *c = user;
  c->http = NULL;
  cx_live_remove(&c->live);
  cx_bind_unpin(c->env, &c->self_ref);
}

static void http_on_change(void *user) {
  const transfer *t = user;
  cx_bind_call(t->env, t->handler_ref, NULL, NULL);
}

static void on_end(void *user) {
  transfer *t = user;
  cx_bind_call(t->env, t->handler_ref, NULL, NULL);
  cx_bind_unpin(t->env, &t->handler_ref);
  cx_bind_unpin(t->env, &t->self_ref);
}

/* ---- The client ----------------------------------------------------------------------------- */

static void close_live(void *object) {
  client *c = object;
  if (c->http) cx_http_close(c->http);
}

/* open() -> client | nil, name, text */
static int http_open(lua_State *L) {
  static const cx_http_events events = {http_on_closed};
  client *c = cx_bind_new(L, type, sizeof *c);
  c->env = cx_bind_env(L);
  c->self_ref = cx_bind_pin(L, -1);
  int rc = cx_http_open(&c->http, c->env->loop, &events, c);
  if (rc != 0) {
    cx_bind_unpin(c->env, &c->self_ref);
    return cx_bind_fail(L, rc);
  }
  c->live = (cx_live){.type = type, .close = close_live, .object = c};
  cx_live_add(c->env, &c->live);
  return 1;
}

static int client_close(lua_State *L) {
  close_live(luaL_checkudata(L, 1, type));
  return 0;
}

static void check_header(lua_State *L, bool is_value) {
  size_t n;
  if (is_value && lua_isboolean(L, -1) && !lua_toboolean(L, -1)) return;
  if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "headers are strings");
  if (strlen(lua_tolstring(L, -1, &n)) != n) luaL_error(L, "headers cannot hold a NUL byte");
}

/* Names and values in turn, of the list `headers`, as a vector on the stack. A value false takes
 * away what libcurl would send. */
static void read_headers(lua_State *L, int index, cx_transfer_options *o) {
  lua_pushliteral(L, "headers");
  bool is_given = lua_rawget(L, index) != LUA_TNIL;
  if (is_given) luaL_checktype(L, -1, LUA_TTABLE);
  size_t n = is_given ? lua_rawlen(L, -1) : 0;
  if (n % 2 != 0 || n > (size_t)2 * MAX_HEADERS) luaL_error(L, "too many headers");
  lua_newtable(L);
  for (size_t i = 1; i <= n; i++) {
    lua_rawgeti(L, -2, (lua_Integer)i);
    check_header(L, i % 2 == 0);
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  o->headers = cx_bind_vector(L);
  o->header_count = n / 2;
}

static void read_options(lua_State *L, int index, cx_transfer_options *o) {
  cx_opt_take(L, index);
  o->method = cx_opt_string(L, index, "method", "GET");
  o->url = cx_opt_string(L, index, "url", "");
  o->user_agent = cx_opt_string(L, index, "user_agent", NULL);
  o->proxy = cx_opt_string(L, index, "proxy", NULL);
  o->ca_file = cx_opt_string(L, index, "ca_file", NULL);
  o->unix_socket = cx_opt_string(L, index, "unix_socket", NULL);
  o->compressed = cx_opt_bool(L, index, "compressed", false);
  o->until_head = cx_opt_bool(L, index, "until_head", false);
  o->idempotent = cx_opt_bool(L, index, "idempotent", false);
  o->max_bytes = (size_t)cx_opt_between(L, index, "max_bytes", 0, LUA_MAXINTEGER, 0);
  o->timeout_ms = cx_opt_ms(L, index, "timeout_ms");
  o->connect_timeout_ms = cx_opt_ms(L, index, "connect_timeout_ms");
  o->idle_ms = cx_opt_ms(L, index, "idle_ms");
  o->body = cx_opt_bytes(L, index, "body", &o->body_size);
  read_headers(L, index, o);
}

/* start(options, handler) -> transfer | nil, name, text; the handler is called without arguments
 * when something came, and once more when it has ended. The transfer keeps our copy of the options,
 * and so the body that libcurl sends from where it is. */
static int client_start(lua_State *L) {
  static const cx_transfer_events events = {http_on_change, on_end};
  const client *c = luaL_checkudata(L, 1, type);
  cx_transfer_options options = {0};
  luaL_checktype(L, 3, LUA_TFUNCTION);
  read_options(L, 2, &options);
  transfer *t = cx_bind_new(L, transfer_type, sizeof *t);
  t->env = cx_bind_env(L);
  t->self_ref = t->handler_ref = LUA_NOREF;
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1);
  t->handler_ref = cx_bind_pin(L, 3);
  t->self_ref = cx_bind_pin(L, -1);
  int rc = c->http ? cx_transfer_open(&t->core, c->http, &options, &events, t) : CX_ECLOSED;
  if (rc == 0) return 1;
  cx_bind_unpin(t->env, &t->handler_ref);
  cx_bind_unpin(t->env, &t->self_ref);
  return cx_bind_fail(L, rc);
}

/* ---- A transfer ----------------------------------------------------------------------------- */

static transfer *self(lua_State *L) { return luaL_checkudata(L, 1, transfer_type); }

static void push_lower(lua_State *L, const char *name) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (; *name; name++) luaL_addchar(&b, (char)tolower((unsigned char)*name));
  luaL_pushresult(&b);
}

/* The list that the names and values on top of the stack make, each with its NUL. */
static void push_list(lua_State *L) {
  size_t n;
  const char *text = lua_tolstring(L, -1, &n), *last = text + n;
  lua_newtable(L);
  for (lua_Integer i = 1; text < last; text += strlen(text) + 1, i++) {
    if (i % 2 == 1)
      push_lower(L, text);
    else
      lua_pushstring(L, text);
    lua_rawseti(L, -2, i);
  }
}

/* head() -> status, { name, value, ... }, url, seconds of Retry-After (0: none); nothing as long
 * as the headers have not come. After each push a finalizer may have freed the core. */
static int transfer_head(lua_State *L) {
  size_t n;
  const transfer *t = self(L);
  if (!t->core || cx_transfer_status(t->core) == 0) return 0;
  lua_Integer status = cx_transfer_status(t->core);
  lua_Integer retry_after = (lua_Integer)cx_transfer_retry_after(t->core);
  const char *head = cx_transfer_head(t->core, &n);
  lua_pushlstring(L, head, n);
  lua_pushinteger(L, status);
  lua_pushvalue(L, -2);
  push_list(L);
  lua_remove(L, -2);
  lua_pushstring(L, t->core ? cx_transfer_url(t->core) : "");
  lua_pushinteger(L, retry_after);
  return 4;
}

/* read() -> the bytes that are there; nothing when there are none */
static int transfer_read(lua_State *L) {
  const transfer *t = self(L);
  const char *data;
  size_t n = t->core ? cx_transfer_peek(t->core, &data) : 0;
  if (n == 0) return 0;
  lua_pushlstring(L, data, n);
  if (t->core) cx_transfer_taken(t->core, n);
  return 1;
}

/* outcome() -> "done" or what went wrong, text, seconds it took; nothing while it runs */
static int transfer_outcome(lua_State *L) {
  const transfer *t = self(L);
  const char *text, *word = t->core ? cx_transfer_outcome(t->core, &text) : NULL;
  if (!word) return 0;
  lua_Number seconds = (lua_Number)cx_transfer_duration_us(t->core) / 1e6;
  lua_pushstring(L, word);
  lua_pushstring(L, t->core ? text : "");
  lua_pushnumber(L, seconds);
  return 3;
}

static int transfer_close(lua_State *L) {
  const transfer *t = self(L);
  if (t->core) cx_transfer_close(t->core);
  return 0;
}

/* It is pinned until it has ended: then there is nothing left but memory. Who calls this by hand
 * before ends it. */
static int transfer_gc(lua_State *L) {
  const char *text;
  transfer *t = self(L);
  if (t->core && !cx_transfer_outcome(t->core, &text)) return transfer_close(L);
  cx_transfer_free(t->core);
  t->core = NULL;
  return 0;
}

/* ---- Registration --------------------------------------------------------------------------- */

/* Frees the text. */
static void push_text(lua_State *L, char *text) {
  cx_buf buf = {0};
  int rc = cx_buf_add_string(&buf, text);
  free(text);
  if (rc != 0) luaL_error(L, "%s", cx_err_text(rc));
  cx_bind_push_buf(L, &buf);
}

/* origin(url) -> scheme, host and port; nothing when it is no http or https URL */
static int http_origin(lua_State *L) {
  char *origin = cx_http_origin(cx_check_text(L, 1));
  if (!origin) return 0;
  push_text(L, origin);
  return 1;
}

/* resolve(url, location) -> the URL that it leads to, whether it has the same scheme, host and
 * port; nothing when it is no http or https URL */
static int http_resolve(lua_State *L) {
  bool stays;
  const char *url = cx_check_text(L, 1);
  char *found = cx_http_resolve(url, cx_check_text(L, 2), &stays);
  if (!found) return 0;
  push_text(L, found);
  lua_pushboolean(L, stays);
  return 2;
}

static const luaL_Reg methods[] = {{"start", client_start}, {"close", client_close}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", client_close}, {"__close", client_close}, {NULL, NULL}};
static const luaL_Reg transfer_methods[] = {{"head", transfer_head},
                                            {"read", transfer_read},
                                            {"outcome", transfer_outcome},
                                            {"close", transfer_close},
                                            {NULL, NULL}};
static const luaL_Reg transfer_meta[] = {{"__gc", transfer_gc}, {NULL, NULL}};
static const luaL_Reg functions[] = {
    {"open", http_open}, {"origin", http_origin}, {"resolve", http_resolve}, {NULL, NULL}};

int luaopen_codex_core_http(lua_State *L) {
  cx_bind_type(L, type, methods, meta);
  cx_bind_type(L, transfer_type, transfer_methods, transfer_meta);
  luaL_newlib(L, functions);
  return 1;
}
