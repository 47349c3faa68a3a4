/* Talking peers for Lua: JSON-RPC over a child, a socket or our own standard streams.
 *
 * The userdata holds the core object until that says it has closed, and is pinned in the registry
 * as long. Everything that happens goes to one handler function, whose first argument says what:
 *
 *   "request", method, params, id      id is JSON text, to be given back with the answer
 *   "notification", method, params
 *   "answer", call, result | nil, error object | nil, nil, why (the name of a code)
 *   "message", kind, method, id, line  with `raw`, in place of the first two and of foreign answers
 *   "junk", text, name [, id]          no message; with an id, a request whose params are no JSON
 *   "change"                           written, refused, ended, exited: status() says what
 *   "closed"
 */
#include "link.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "argv.h"
#include "bind.h"
#include "err.h"
#include "modules.h"
#include "pipe.h"

static const char type[] = "codex.link";
enum { LINE_LIMIT = 64 << 20, READ_SIZE = 256 << 10, SHOWN = 400 };

typedef struct {
  cx_link *link; /* NULL before it opens and after it has closed */
  cx_env *env;
  cx_live live;
  cx_proc_status child; /* as it was at the end */
  cx_buf tail;          /* likewise */
  size_t tail_lost;
  int self_ref, handler_ref;
  bool has_child, raw, heard;
  char prefix[32], name[64];
} peer;

/* ---- Events from the core ------------------------------------------------------------------ */

static void push_span(lua_State *L, cx_span span) {
  if (span.n)
    lua_pushlstring(L, span.at, span.n);
  else
    lua_pushnil(L);
}

static int push_junk(lua_State *L, cx_span text, int code, cx_span id) {
  lua_pushliteral(L, "junk");
  lua_pushlstring(L, text.at, text.n);
  lua_pushstring(L, cx_err_name(code));
  push_span(L, id);
  return 4;
}

static int push_payload(lua_State *L, const cx_message *m) {
  if (m->payload.n) return cx_bind_push_json(L, m->payload.at, m->payload.n);
  lua_pushnil(L);
  return 0;
}

/* handler("request" | "notification", method, params, id) */
static int push_message(lua_State *L, void *arg) {
  const cx_message *m = arg;
  lua_pushstring(L, m->kind == CX_MESSAGE_REQUEST ? "request" : "notification");
  lua_pushlstring(L, m->method.at, m->method.n);
  int rc = push_payload(L, m);
  if (rc != 0) {
    cx_span shown = {m->line.at, m->line.n < SHOWN ? m->line.n : SHOWN};
    lua_settop(L, -3);
    return push_junk(L, shown, rc, m->id);
  }
  push_span(L, m->id);
  return 4;
}

static const char *const kinds[] = {"request", "notification", "result", "error"};

/* handler("message", kind, method, id, line) */
static int push_raw(lua_State *L, void *arg) {
  const cx_message *m = arg;
  lua_pushliteral(L, "message");
  lua_pushstring(L, kinds[m->kind]);
  push_span(L, m->method);
  push_span(L, m->id);
  push_span(L, m->line);
  return 5;
}

static void link_on_message(void *user, const cx_message *m) {
  peer *p = user;
  cx_bind_call(p->env, p->handler_ref, p->raw ? push_raw : push_message, (void *)(uintptr_t)m);
}

typedef struct {
  uint64_t call;
  int code;
  const cx_message *message;
} answer;

/* handler("answer", call, result, error, why) */
static int push_answer(lua_State *L, void *arg) {
  const answer *a = arg;
  const cx_message *m = a->message;
  int code = a->code;
  lua_pushliteral(L, "answer");
  lua_pushinteger(L, (lua_Integer)a->call);
  int top = lua_gettop(L);
  if (m) {
    bool failed = m->kind == CX_MESSAGE_ERROR;
    if (failed) lua_pushnil(L);
    code = push_payload(L, m);
    if (code == 0) return failed ? 4 : 3;
  }
  lua_settop(L, top);
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushstring(L, cx_err_name(code));
  return 5;
}

static void link_on_answer(void *user, uint64_t call, int code, const cx_message *message) {
  peer *p = user;
  answer a = {call, code, message};
  cx_bind_call(p->env, p->handler_ref, push_answer, &a);
}

typedef struct {
  cx_span text;
  int code;
} junk;

static int push_no_message(lua_State *L, void *arg) {
  const junk *j = arg;
  return push_junk(L, j->text, j->code, (cx_span){0});
}

static void link_on_junk(void *user, const char *text, size_t n, int code) {
  peer *p = user;
  junk j = {{text, n > SHOWN && !p->raw ? SHOWN : n}, code};
  cx_bind_call(p->env, p->handler_ref, push_no_message, &j);
}

static int push_text(lua_State *L, void *arg) {
  lua_pushstring(L, arg);
  return 1;
}

static void say(peer *p, const char *what) {
  cx_bind_call(p->env, p->handler_ref, push_text, (void *)(uintptr_t)what);
}

static void link_on_change(void *user) { say(user, "change"); }

static void link_on_closed(void *user) {
  peer *p = user;
  const cx_tail *tail = cx_link_stderr(p->link);
  const cx_proc_status *child = cx_link_child(p->link);
  if (child) p->child = *child;
  p->tail_lost = tail->lost;
  cx_buf_add(&p->tail, cx_buf_bytes(&tail->buf), tail->buf.len);
  p->link = NULL;
  cx_live_remove(&p->live);
  say(p, "closed");
  cx_bind_unpin(p->env, &p->handler_ref);
  cx_bind_unpin(p->env, &p->self_ref);
}

static void close_live(void *object) {
  peer *p = object;
  if (p->link) cx_link_close(p->link);
}

static bool is_heard(const void *object) { return ((const peer *)object)->heard; }

static void hold_live(void *object, bool hold) {
  peer *p = object;
  if (p->link) cx_link_hold(p->link, hold);
}

static void stop_live(void *object) {
  peer *p = object;
  if (!p->link) return;
  cx_link_finish(p->link); /* whoever waits for our next word meets its end */
  cx_link_stop(p->link, CX_ECLOSED);
}

static const cx_link_events events = {link_on_message, link_on_answer, link_on_junk, link_on_change,
                                      link_on_closed};

/* ---- Opening -------------------------------------------------------------------------------- */

/* It stands between the quotes of an id as it is. */
static bool read_prefix(lua_State *L, int index, peer *p) {
  const char *prefix = cx_opt_string(L, index, "prefix", NULL);
  if (!prefix) return false;
  size_t n = strlen(prefix);
  if (n >= sizeof p->prefix) luaL_error(L, "option 'prefix' is too long");
  for (size_t i = 0; i < n; i++)
    if (prefix[i] < ' ' || prefix[i] > '~' || prefix[i] == '"' || prefix[i] == '\\')
      luaL_error(L, "option 'prefix' must be plain ASCII without quotes and backslashes");
  memcpy(p->prefix, prefix, n + 1);
  return true;
}

static void read_options(lua_State *L, int index, peer *p, cx_link_options *o) {
  p->raw = cx_opt_bool(L, index, "raw", false);
  p->heard = cx_opt_bool(L, index, "heard", true);
  snprintf(p->name, sizeof p->name, "%s", cx_opt_string(L, index, "name", "a peer"));
  bool prefix = read_prefix(L, index, p);
  o->rpc.prefix = prefix ? p->prefix : NULL;
  o->rpc.relay = p->raw;
  o->rpc.versioned = cx_opt_bool(L, index, "jsonrpc", false);
  o->rpc.window = (unsigned)cx_opt_between(L, index, "window", 1, INT_MAX, 64);
  o->line_limit = cx_opt_size(L, index, "line_limit", LINE_LIMIT);
  o->read_size = cx_opt_size(L, index, "read_size", READ_SIZE);
}

/* A peer on the stack, pinned, with the handler at this index; the options are taken. */
static peer *new_peer(lua_State *L, int options, int handler, cx_link_options *o) {
  peer *p = cx_bind_new(L, type, sizeof *p);
  p->env = cx_bind_env(L);
  p->self_ref = p->handler_ref = LUA_NOREF;
  memset(o, 0, sizeof *o);
  read_options(L, options, p, o);
  p->handler_ref = cx_bind_pin(L, handler);
  p->self_ref = cx_bind_pin(L, -1);
  return p;
}

static int opened(lua_State *L, peer *p, int rc) {
  if (rc != 0) {
    cx_bind_unpin(p->env, &p->handler_ref);
    cx_bind_unpin(p->env, &p->self_ref);
    return cx_bind_fail(L, rc);
  }
  p->live = (cx_live){.type = type, .close = close_live, .object = p, .name = p->name};
  if (p->has_child) {
    p->live.is_heard = is_heard;
    p->live.hold = hold_live;
    p->live.stop = stop_live;
  }
  cx_live_add(p->env, &p->live);
  return 1;
}

/* spawn(argv, options, handler) -> link | nil, name, text */
static int link_spawn(lua_State *L) {
  cx_proc_options child;
  cx_link_options options;
  luaL_checktype(L, 3, LUA_TFUNCTION);
  cx_argv_read(L, 1, 2, &child);
  peer *p = new_peer(L, 2, 3, &options);
  p->has_child = true;
  return opened(L, p, cx_link_spawn(&p->link, p->env->loop, &child, &options, &events, p));
}

/* open(input, output, options, handler) -> link | nil, name, text: over descriptors, duplicated */
static int link_open(lua_State *L) {
  cx_link_options options;
  int in = cx_check_fd(L, 1), out = cx_check_fd(L, 2);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  cx_opt_take(L, 3);
  peer *p = new_peer(L, 3, 4, &options);
  return opened(L, p, cx_link_open(&p->link, p->env->loop, in, out, &options, &events, p));
}

/* take_standard() -> in, out | nil, name, text: descriptors that are ours alone */
static int link_take_standard(lua_State *L) {
  int in, out;
  fflush(stdout);
  int rc = cx_pipe_take_standard(&in, &out);
  if (rc != 0) return cx_bind_fail(L, rc);
  lua_pushinteger(L, in);
  lua_pushinteger(L, out);
  return 2;
}

/* read(line) -> kind, method, id | nil, name, text: what a message is, without reading its payload
 */
static int link_read(lua_State *L) {
  cx_message m;
  cx_buf scratch = {0};
  size_t n;
  const char *line = luaL_checklstring(L, 1, &n);
  lua_settop(L, 1);
  for (int i = 0; i < 4; i++) lua_pushstring(L, kinds[i]); /* now: later it must not fail */
  int rc = cx_message_read(&m, line, n, &scratch);
  if (rc != 0) {
    cx_buf_free(&scratch);
    return cx_bind_fail(L, rc);
  }
  bool unescaped = scratch.len && m.method.at == cx_buf_bytes(&scratch);
  if (!unescaped) cx_buf_free(&scratch);
  lua_pushvalue(L, 2 + (int)m.kind);
  if (unescaped)
    cx_bind_push_buf(L, &scratch);
  else
    push_span(L, m.method);
  push_span(L, m.id);
  return 3;
}

/* ---- Methods -------------------------------------------------------------------------------- */

static peer *self(lua_State *L) { return luaL_checkudata(L, 1, type); }

static cx_span text_at(lua_State *L, int index) {
  cx_span span = {"", 0};
  if (!lua_isnoneornil(L, index)) span.at = luaL_checklstring(L, index, &span.n);
  return span;
}

static int done(lua_State *L, int rc) {
  if (rc != 0) return cx_bind_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* call(method, params, timeout in ms, 0 for none) -> call | nil, name, text */
static int link_call(lua_State *L) {
  peer *p = self(L);
  const char *method = cx_check_text(L, 2);
  cx_span params = text_at(L, 3);
  lua_Integer ms = luaL_optinteger(L, 4, 0);
  uint64_t call, due = 0;
  if (!p->link) return cx_bind_fail(L, CX_ECLOSED);
  if (ms > 0) {
    uv_update_time(p->env->loop); /* it stands still while a script computes */
    due = uv_now(p->env->loop) + (uint64_t)ms;
  }
  int rc = cx_rpc_call(cx_link_rpc(p->link), method, params.at, params.n, due, &call);
  if (rc != 0) return cx_bind_fail(L, rc);
  cx_link_arm(p->link);
  lua_pushinteger(L, (lua_Integer)call);
  return 1;
}

/* forget(call): nobody wants its answer any more */
static int link_forget(lua_State *L) {
  peer *p = self(L);
  uint64_t call = (uint64_t)luaL_checkinteger(L, 2);
  if (!p->link) return 0;
  cx_rpc_forget(cx_link_rpc(p->link), call);
  cx_link_pump(p->link);
  return 0;
}

/* notify(method, params) -> true | nil, name, text */
static int link_notify(lua_State *L) {
  peer *p = self(L);
  const char *method = cx_check_text(L, 2);
  cx_span params = text_at(L, 3);
  if (!p->link) return cx_bind_fail(L, CX_ECLOSED);
  return done(L, cx_rpc_notify(cx_link_rpc(p->link), method, params.at, params.n));
}

/* reply(id, result) -> true | nil, name, text */
static int link_reply(lua_State *L) {
  peer *p = self(L);
  cx_span id = text_at(L, 2), result = text_at(L, 3);
  luaL_argcheck(L, id.n && result.n, 2, "an id and a result are needed");
  if (!p->link) return cx_bind_fail(L, CX_ECLOSED);
  return done(L, cx_rpc_reply(cx_link_rpc(p->link), id, result));
}

/* refuse(id, code, message, data) -> true | nil, name, text */
static int link_refuse(lua_State *L) {
  peer *p = self(L);
  cx_span id = text_at(L, 2), message = text_at(L, 4), data = text_at(L, 5);
  lua_Integer code = luaL_checkinteger(L, 3);
  luaL_argcheck(L, id.n, 2, "an id is needed");
  if (!p->link) return cx_bind_fail(L, CX_ECLOSED);
  return done(L, cx_rpc_refuse(cx_link_rpc(p->link), id, code, message, data));
}

/* send(line) -> true | nil, name, text: a whole message as it is, but for its newline */
static int link_send(lua_State *L) {
  peer *p = self(L);
  cx_span data = text_at(L, 2);
  return done(L, p->link ? cx_link_send_line(p->link, data.at, data.n) : CX_ECLOSED);
}

/* flush(): what was kept back to leave together leaves now */
static int link_flush(lua_State *L) {
  peer *p = self(L);
  if (p->link) cx_link_flush(p->link);
  return 0;
}

static int link_pause(lua_State *L) {
  peer *p = self(L);
  if (p->link) cx_link_pause(p->link, lua_toboolean(L, 2));
  return 0;
}

/* finish(): the other side reads to its end */
static int link_finish(lua_State *L) {
  peer *p = self(L);
  if (p->link) cx_link_finish(p->link);
  return 0;
}

/* heard(yes): whether the script wants to hear of a child once all its tasks have ended */
static int link_heard(lua_State *L) {
  self(L)->heard = lua_toboolean(L, 2);
  return 0;
}

/* stop(): ends the child politely, then by force */
static int link_stop(lua_State *L) {
  peer *p = self(L);
  if (p->link) cx_link_stop(p->link, CX_ECANCELLED);
  return 0;
}

static int link_close(lua_State *L) {
  close_live(self(L));
  return 0;
}

static int link_gc(lua_State *L) {
  cx_buf_free(&self(L)->tail);
  return 0;
}

static void set_integer(lua_State *L, const char *name, size_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

static void set_bool(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

static void push_open_status(lua_State *L, const peer *p) {
  cx_link_status s = cx_link_get_status(p->link);
  set_bool(L, "ended", s.ended);
  set_integer(L, "unwritten", s.unwritten);
  set_integer(L, "pending", cx_rpc_pending(cx_link_rpc(p->link)));
  set_integer(L, "queued", cx_rpc_queued(cx_link_rpc(p->link)));
  if (!s.write_error) return;
  lua_pushstring(L, cx_err_name(s.write_error));
  lua_setfield(L, -2, "write_error");
}

/* status() -> closed, ended, unwritten, pending, queued, write_error, and a child's status */
static int link_status(lua_State *L) {
  const peer *p = self(L);
  lua_createtable(L, 0, 12);
  set_bool(L, "closed", !p->link);
  if (p->link)
    push_open_status(L, p);
  else
    set_bool(L, "ended", true);
  if (p->has_child) cx_argv_push_status(L, p->link ? cx_link_child(p->link) : &p->child);
  return 1;
}

/* unwritten() -> bytes that the other side has not taken */
static int link_unwritten(lua_State *L) {
  const peer *p = self(L);
  lua_pushinteger(L, p->link ? (lua_Integer)cx_link_get_status(p->link).unwritten : 0);
  return 1;
}

/* stderr() -> the tail of a child's standard error, and how many bytes before it were forgotten */
static int link_stderr(lua_State *L) {
  const peer *p = self(L);
  const cx_tail *tail = p->link ? cx_link_stderr(p->link) : NULL;
  const cx_buf *buf = tail ? &tail->buf : &p->tail;
  lua_pushlstring(L, cx_buf_bytes(buf), buf->len);
  lua_pushinteger(L, (lua_Integer)(tail ? tail->lost : p->tail_lost));
  return 2;
}

static const luaL_Reg methods[] = {{"call", link_call},     {"forget", link_forget},
                                   {"notify", link_notify}, {"reply", link_reply},
                                   {"refuse", link_refuse}, {"send", link_send},
                                   {"pause", link_pause},   {"finish", link_finish},
                                   {"stop", link_stop},     {"close", link_close},
                                   {"status", link_status}, {"unwritten", link_unwritten},
                                   {"stderr", link_stderr}, {"flush", link_flush},
                                   {"heard", link_heard},   {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", link_gc}, {"__close", link_close}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"spawn", link_spawn},
                                     {"open", link_open},
                                     {"read", link_read},
                                     {"take_standard", link_take_standard},
                                     {NULL, NULL}};

int luaopen_codex_core_link(lua_State *L) {
  lua_getglobal(L, "require"); /* payloads are pushed by it */
  lua_pushliteral(L, "codex.core.json");
  lua_call(L, 1, 0);
  cx_bind_type(L, type, methods, meta);
  luaL_newlib(L, functions);
  return 1;
}
