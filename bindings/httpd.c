/* The HTTP server for Lua: one function for requests, and answers that may be streamed.
 *
 * A loadable module (codex/core/httpd.so): the program itself does not need libmicrohttpd. The
 * server's userdata is pinned until it has closed, a request's until its connection is done with
 * it; from then on its methods that ask raise, and those that answer fail with ECLOSED. */
#include "httpd.h"

#include <ctype.h>
#include <string.h>

#include "bind.h"
#include "err.h"

static const char type[] = "codex.httpd", request_type[] = "codex.httpd.request";
enum { MAX_HEADERS = 64, MAX_PORT = 65535 };

typedef struct {
  cx_httpd *httpd; /* NULL before it opens and after it has closed */
  cx_env *env;
  cx_live live;
  int self_ref, handler_ref;
  bool closing;
} server;

typedef struct {
  cx_request *request; /* NULL when the connection is done with it */
  cx_env *env;
  int self_ref;
  bool handed_over; /* the handler has returned */
} request;

int luaopen_codex_core_httpd(lua_State *L);

/* ---- Events from the core ------------------------------------------------------------------ */

static int push_request(lua_State *L, void *arg) {
  cx_request *core = arg;
  request *r = cx_bind_new(L, request_type, sizeof *r);
  r->env = cx_bind_env(L);
  r->self_ref = cx_bind_pin(L, -1);
  r->request = core;
  cx_request_set_user(core, r);
  return 1;
}

/* handler(request), as it is pinned: notes that the function given to listen did not raise. */
static int call_handler(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  lua_call(L, 1, 0);
  ((request *)lua_touserdata(L, 1))->handed_over = true;
  return 0;
}

/* After an error nobody will answer: the client must not wait for ever. */
static void httpd_on_request(void *user, cx_request *core) {
  server *s = user;
  cx_bind_call(s->env, s->handler_ref, push_request, core);
  const request *r = cx_request_user(core);
  if (!r || !r->handed_over) cx_request_abort(core);
}

static void httpd_on_gone(void *user, cx_request *core) {
  request *r = cx_request_user(core);
  (void)user;
  if (!r) return;
  r->request = NULL;
  cx_bind_unpin(r->env, &r->self_ref);
}

static void httpd_on_closed(void *user) {
  server *s = user;
  s->httpd = NULL;
  cx_live_remove(&s->live);
  cx_bind_unpin(s->env, &s->handler_ref);
  cx_bind_unpin(s->env, &s->self_ref);
}

static void close_live(void *object) {
  server *s = object;
  s->closing = true;
  if (s->httpd) cx_httpd_close(s->httpd);
}

/* ---- The server ----------------------------------------------------------------------------- */

static server *self(lua_State *L) { return luaL_checkudata(L, 1, type); }

static void read_options(lua_State *L, cx_httpd_options *options) {
  cx_opt_take(L, 1);
  options->host = cx_opt_string(L, 1, "host", NULL);
  options->port = (int)cx_opt_between(L, 1, "port", 0, MAX_PORT, 0);
  options->body_limit = (size_t)cx_opt_between(L, 1, "body_limit", 0, LUA_MAXINTEGER, 0);
}

/* listen(options, on_request) -> server | nil, name, text */
static int httpd_listen(lua_State *L) {
  static const cx_httpd_events events = {httpd_on_request, httpd_on_gone, httpd_on_closed};
  cx_httpd_options options = {0};
  luaL_checktype(L, 2, LUA_TFUNCTION);
  read_options(L, &options);
  server *s = cx_bind_new(L, type, sizeof *s);
  s->env = cx_bind_env(L);
  s->self_ref = s->handler_ref = LUA_NOREF;
  s->self_ref = cx_bind_pin(L, -1);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, call_handler, 1);
  s->handler_ref = cx_bind_pin(L, -1);
  lua_pop(L, 1);
  int rc = cx_httpd_open(&s->httpd, s->env->loop, &options, &events, s);
  if (rc != 0) {
    cx_bind_unpin(s->env, &s->handler_ref);
    cx_bind_unpin(s->env, &s->self_ref);
    return cx_bind_fail(L, rc);
  }
  s->live = (cx_live){.type = type, .close = close_live, .object = s};
  cx_live_add(s->env, &s->live);
  return 1;
}

/* port() -> the port it listens on; nil once it is closed */
static int httpd_port(lua_State *L) {
  const server *s = self(L);
  if (!s->httpd || s->closing) return 0;
  lua_pushinteger(L, cx_httpd_port(s->httpd));
  return 1;
}

static int httpd_close(lua_State *L) {
  close_live(self(L));
  return 0;
}

/* ---- A request ------------------------------------------------------------------------------ */

static cx_request *live_request(lua_State *L) {
  const request *r = luaL_checkudata(L, 1, request_type);
  if (!r->request) luaL_error(L, "the request is over");
  return r->request;
}

/* The core object, or NULL when the request is over. */
static cx_request *any_request(lua_State *L) {
  return ((const request *)luaL_checkudata(L, 1, request_type))->request;
}

static int result(lua_State *L, int rc) {
  if (rc != 0) return cx_bind_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

static int request_method(lua_State *L) {
  lua_pushstring(L, cx_request_method(live_request(L)));
  return 1;
}

static int request_path(lua_State *L) {
  lua_pushstring(L, cx_request_path(live_request(L)));
  return 1;
}

static int request_body(lua_State *L) {
  size_t n;
  const char *body = cx_request_body(live_request(L), &n);
  lua_pushlstring(L, body, n);
  return 1;
}

/* Names and values, each with its NUL, of so many headers. */
typedef struct {
  char *at; /* NULL: only their size is wanted */
  size_t size;
  int n;
} header_list;

static void add_text(header_list *list, const char *text) {
  size_t n = strlen(text) + 1;
  if (list->at) memcpy(list->at + list->size, text, n);
  list->size += n;
}

/* Only copies: Lua must not be called from inside libmicrohttpd. */
static void copy_header(void *arg, const char *name, const char *value) {
  header_list *list = arg;
  if (list->n == MAX_HEADERS) return;
  add_text(list, name);
  add_text(list, value);
  list->n++;
}

/* A copy in a userdata on the stack. At the allocation a finalizer may end the request. */
static header_list copy_headers(lua_State *L) {
  header_list list = {0};
  cx_request_headers(live_request(L), copy_header, &list);
  list = (header_list){.at = lua_newuserdatauv(L, list.size + 1, 0)};
  cx_request_headers(live_request(L), copy_header, &list);
  return list;
}

static void push_lower(lua_State *L, const char *text) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (; *text; text++) luaL_addchar(&b, (char)tolower((unsigned char)*text));
  luaL_pushresult(&b);
}

/* headers() -> name (in lower case) to value; of a repeated one the last (64 headers at most) */
static int request_headers(lua_State *L) {
  header_list list = copy_headers(L);
  const char *text = list.at;
  lua_createtable(L, 0, list.n);
  for (int i = 0; i < list.n; i++) {
    push_lower(L, text);
    text += strlen(text) + 1;
    lua_pushstring(L, text);
    text += strlen(text) + 1;
    lua_rawset(L, -3);
  }
  return 1;
}

static void add_string(lua_State *L, int index, lua_Integer place) {
  size_t n;
  if (lua_type(L, index) != LUA_TSTRING) luaL_error(L, "headers must be strings");
  const char *text = lua_tolstring(L, index, &n);
  if (strlen(text) != n) luaL_error(L, "headers cannot hold a NUL byte");
  lua_pushvalue(L, index);
  lua_rawseti(L, -4, place);
}

/* Names and values in turn, of the table at `index`, as a vector on the stack. */
static const char **read_headers(lua_State *L, int index, size_t *n) {
  *n = 0;
  lua_newtable(L);
  if (!lua_isnoneornil(L, index)) {
    luaL_checktype(L, index, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
      if ((*n)++ == MAX_HEADERS) luaL_error(L, "too many headers");
      add_string(L, -2, 2 * (lua_Integer)*n - 1);
      add_string(L, -1, 2 * (lua_Integer)*n);
    }
  }
  return cx_bind_vector(L);
}

/* respond(status, headers) -> true | nil, name, text */
static int request_respond(lua_State *L) {
  size_t n;
  lua_Integer status = luaL_checkinteger(L, 2);
  luaL_argcheck(L, status >= 200 && status <= 599, 2, "not the status of an answer");
  const char **headers = read_headers(L, 3, &n);
  cx_request *core = any_request(L);
  return result(L, core ? cx_request_respond(core, (int)status, headers, n) : CX_ECLOSED);
}

/* write(bytes) -> true | nil, name, text */
static int request_write(lua_State *L) {
  size_t n;
  const char *data = luaL_checklstring(L, 2, &n);
  cx_request *core = any_request(L);
  return result(L, core ? cx_request_write(core, data, n) : CX_ECLOSED);
}

static int request_finish(lua_State *L) {
  cx_request *core = any_request(L);
  if (core) cx_request_finish(core);
  return 0;
}

static int request_abort(lua_State *L) {
  cx_request *core = any_request(L);
  if (core) cx_request_abort(core);
  return 0;
}

/* is_open() -> whether the client is still there to be answered */
static int request_is_open(lua_State *L) {
  const cx_request *core = any_request(L);
  lua_pushboolean(L, core && cx_request_is_open(core));
  return 1;
}

/* ---- Registration --------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {{"port", httpd_port}, {"close", httpd_close}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", httpd_close}, {"__close", httpd_close}, {NULL, NULL}};
static const luaL_Reg request_methods[] = {{"method", request_method},   {"path", request_path},
                                           {"headers", request_headers}, {"body", request_body},
                                           {"respond", request_respond}, {"write", request_write},
                                           {"finish", request_finish},   {"abort", request_abort},
                                           {"is_open", request_is_open}, {NULL, NULL}};
static const luaL_Reg no_meta[] = {{NULL, NULL}};
static const luaL_Reg functions[] = {{"listen", httpd_listen}, {NULL, NULL}};

int luaopen_codex_core_httpd(lua_State *L) {
  cx_bind_type(L, type, methods, meta);
  cx_bind_type(L, request_type, request_methods, no_meta);
  luaL_newlib(L, functions);
  return 1;
}
