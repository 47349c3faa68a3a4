/* WebSockets for Lua: a server with one function for its clients, a client with one for its only
 * connection, and for each connection one for its messages.
 *
 * A loadable module (codex/core/ws.so): the program itself does not need libwebsockets. The
 * server's userdata is pinned until it has closed, a connection's until its peer is gone; from
 * then on sending fails with ECLOSED. */
#include "ws.h"

#include <limits.h>

#include "bind.h"
#include "err.h"

static const char type[] = "codex.ws", connection_type[] = "codex.ws.connection";

typedef struct {
  cx_ws *ws; /* NULL before it opens and after it has closed */
  cx_env *env;
  cx_live live;
  int self_ref, handler_ref;
} server; /* or a client */

typedef struct {
  cx_ws_peer *peer; /* NULL when it is gone */
  cx_env *env;
  int self_ref, handler_ref;
} connection;

int luaopen_codex_core_ws(lua_State *L);

/* ---- Events from the core ------------------------------------------------------------------ */

static int push_connection(lua_State *L, void *arg) {
  cx_ws_peer *peer = arg;
  connection *c = cx_bind_new(L, connection_type, sizeof *c);
  c->env = cx_bind_env(L);
  c->self_ref = c->handler_ref = LUA_NOREF;
  c->self_ref = cx_bind_pin(L, -1);
  c->peer = peer;
  cx_ws_peer_set_user(peer, c);
  return 1;
}

/* Without memory, or after an error of the handler, nobody would ever read: the peer is told. */
static void on_peer(void *user, cx_ws_peer *peer) {
  server *s = user;
  cx_bind_call(s->env, s->handler_ref, push_connection, peer);
  const connection *c = cx_ws_peer_user(peer);
  if (!c || c->handler_ref == LUA_NOREF) cx_ws_peer_close(peer, CX_WS_INTERNAL, "nobody listens");
}

typedef struct {
  const char *kind, *text;
  size_t n;
  int code;
} event;

/* kind, text, code */
static int push_event(lua_State *L, void *arg) {
  const event *e = arg;
  lua_pushstring(L, e->kind);
  lua_pushlstring(L, e->text, e->n);
  if (e->code == 0) return 2;
  lua_pushinteger(L, e->code);
  return 3;
}

static void tell(const connection *c, event e) {
  if (c) cx_bind_call(c->env, c->handler_ref, push_event, &e);
}

static void ws_on_message(void *user, cx_ws_peer *peer, const char *text, size_t n) {
  (void)user;
  tell(cx_ws_peer_user(peer), (event){.kind = "message", .text = text, .n = n});
}

static void on_drain(void *user, cx_ws_peer *peer) {
  (void)user;
  tell(cx_ws_peer_user(peer), (event){.kind = "drain", .text = ""});
}

static void ws_on_gone(void *user, cx_ws_peer *peer, int code, const char *reason, size_t n) {
  connection *c = cx_ws_peer_user(peer);
  (void)user;
  if (!c) return;
  c->peer = NULL;
  tell(c, (event){.kind = "closed", .text = reason, .n = n, .code = code});
  cx_bind_unpin(c->env, &c->handler_ref);
  cx_bind_unpin(c->env, &c->self_ref);
}

/* nothing, why */
static int push_refusal(lua_State *L, void *arg) {
  const event *e = arg;
  lua_pushnil(L);
  lua_pushlstring(L, e->text, e->n);
  return 2;
}

static void on_refused(void *user, const char *why, size_t n) {
  const server *s = user;
  event e = {.text = why, .n = n};
  cx_bind_call(s->env, s->handler_ref, push_refusal, &e);
}

static void ws_on_closed(void *user) {
  server *s = user;
  s->ws = NULL;
  cx_live_remove(&s->live);
  cx_bind_call(s->env, s->handler_ref, NULL, NULL);
  cx_bind_unpin(s->env, &s->handler_ref);
  cx_bind_unpin(s->env, &s->self_ref);
}

static void close_live(void *object) {
  server *s = object;
  if (s->ws) cx_ws_close(s->ws);
}

/* ---- The server, the client --------------------------------------------------------------- */

typedef int open_fn(cx_ws **out, uv_loop_t *loop, const cx_ws_options *options,
                    const cx_ws_events *events, void *user);

static int open_with(lua_State *L, open_fn *open) {
  static const cx_ws_events events = {on_peer,    ws_on_message, on_drain,
                                      ws_on_gone, on_refused,    ws_on_closed};
  cx_ws_options options = {.path = cx_check_text(L, 1)};
  luaL_checktype(L, 3, LUA_TFUNCTION);
  cx_opt_take(L, 2);
  options.url_path = cx_opt_string(L, 2, "url_path", NULL);
  options.ping_s = (unsigned)cx_opt_between(L, 2, "ping_s", 1, INT_MAX, 300);
  options.message_limit = (size_t)cx_opt_between(L, 2, "message_limit", 0, LUA_MAXINTEGER, 0);
  options.peer_limit = (unsigned)cx_opt_between(L, 2, "client_limit", 0, INT_MAX, 0);
  server *s = cx_bind_new(L, type, sizeof *s);
  s->env = cx_bind_env(L);
  s->self_ref = s->handler_ref = LUA_NOREF;
  s->handler_ref = cx_bind_pin(L, 3);
  s->self_ref = cx_bind_pin(L, -1);
  int rc = open(&s->ws, s->env->loop, &options, &events, s);
  if (rc != 0) {
    cx_bind_unpin(s->env, &s->handler_ref);
    cx_bind_unpin(s->env, &s->self_ref);
    return cx_bind_fail(L, rc);
  }
  s->live = (cx_live){.type = type, .close = close_live, .object = s};
  cx_live_add(s->env, &s->live);
  return 1;
}

/* listen(path, options, handler) -> server | nil, name, text; the handler is called with each
 * connection, and with nothing when the server has closed */
static int ws_listen(lua_State *L) { return open_with(L, cx_ws_open); }

/* connect(path, options, handler) -> client | nil, name, text; the handler is called with the
 * connection, or with nil and why there is none; and with nothing when the client has closed */
static int ws_connect(lua_State *L) { return open_with(L, cx_ws_connect); }

static int ws_close(lua_State *L) {
  close_live(luaL_checkudata(L, 1, type));
  return 0;
}

/* ---- A connection --------------------------------------------------------------------------- */

static connection *self(lua_State *L) { return luaL_checkudata(L, 1, connection_type); }

static int result(lua_State *L, int rc) {
  if (rc != 0) return cx_bind_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* start(on_event) -> true | nil, name, text; on_event(kind, text, code) gets "message" with its
 * text, "drain", and last "closed" with the reason and the code. Once, from the handler above */
static int connection_start(lua_State *L) {
  connection *c = self(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  if (c->handler_ref != LUA_NOREF) return luaL_error(L, "the connection was started before");
  if (!c->peer) return cx_bind_fail(L, CX_ECLOSED);
  c->handler_ref = cx_bind_pin(L, 2);
  cx_ws_peer_start(c->peer);
  return result(L, 0);
}

/* send(text) -> true | nil, name, text */
static int connection_send(lua_State *L) {
  size_t n;
  const connection *c = self(L);
  const char *text = luaL_checklstring(L, 2, &n);
  return result(L, c->peer ? cx_ws_peer_send(c->peer, text, n) : CX_ECLOSED);
}

/* unsent() -> bytes that the system has not taken yet */
static int connection_unsent(lua_State *L) {
  const connection *c = self(L);
  lua_pushinteger(L, c->peer ? (lua_Integer)cx_ws_peer_unsent(c->peer) : 0);
  return 1;
}

/* pause(whether) */
static int connection_pause(lua_State *L) {
  const connection *c = self(L);
  if (c->peer) cx_ws_peer_pause(c->peer, lua_toboolean(L, 2));
  return 0;
}

/* close(code, reason): 1000 and none by default */
static int connection_close(lua_State *L) {
  const connection *c = self(L);
  lua_Integer code = luaL_optinteger(L, 2, CX_WS_NORMAL);
  const char *reason = lua_isnoneornil(L, 3) ? NULL : cx_check_text(L, 3);
  bool sendable = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                  (code >= 3000 && code <= 4999);
  luaL_argcheck(L, sendable, 2, "not a code to close with");
  if (c->peer) cx_ws_peer_close(c->peer, (int)code, reason);
  return 0;
}

/* drop() */
static int connection_drop(lua_State *L) {
  const connection *c = self(L);
  if (c->peer) cx_ws_peer_drop(c->peer);
  return 0;
}

/* ---- Registration --------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {{"close", ws_close}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", ws_close}, {"__close", ws_close}, {NULL, NULL}};
static const luaL_Reg connection_methods[] = {{"start", connection_start},
                                              {"send", connection_send},
                                              {"unsent", connection_unsent},
                                              {"pause", connection_pause},
                                              {"close", connection_close},
                                              {"drop", connection_drop},
                                              {NULL, NULL}};
static const luaL_Reg no_meta[] = {{NULL, NULL}};
static const luaL_Reg functions[] = {{"listen", ws_listen}, {"connect", ws_connect}, {NULL, NULL}};

int luaopen_codex_core_ws(lua_State *L) {
  cx_bind_type(L, type, methods, meta);
  cx_bind_type(L, connection_type, connection_methods, no_meta);
  luaL_newlib(L, functions);
  return 1;
}
