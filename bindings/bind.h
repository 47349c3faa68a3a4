/* The small bridge between core objects and Lua that every binding stands on.
 *
 * Rules kept here so that no binding has to think of them: the core calls Lua only through
 * cx_bind_call, which pushes and calls under protection, on the main thread; an object that libuv
 * knows is pinned in the registry; the environment lists what lives, for teardown and for tests. */
#ifndef CX_BIND_H
#define CX_BIND_H

#include <stdbool.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>
#include <uv.h>

#include "log.h"

/* A live core object. Its binding links it when it opens and unlinks it when it has closed. */
typedef struct cx_live {
  struct cx_live *prev, *next;
  const char *type;            /* the registry type, for messages */
  void (*close)(void *object); /* begins to close it; idempotent */
  void *object;
  /* What may end when a script does: whether anybody hears of it, whether it keeps the loop
   * running, and its polite end. NULL for what goes on until it is closed. */
  bool (*is_heard)(const void *object);
  void (*hold)(void *object, bool hold);
  void (*stop)(void *object);
  const char *name; /* for people */
} cx_live;

/* Bytes that the host's allocator refuses at once, whatever there is. */
#define CX_ALLOC_LIMIT ((size_t)1 << 41)

/* When what runs now must be over. Coroutines that have the hook of cx_limit_hook hold it. */
typedef struct cx_limit {
  int64_t deadline; /* on the clock of uv_hrtime, in nanoseconds; 0: none */
  int strikes;      /* errors that were raised since */
  int mercy;        /* looks until the next one */
  bool spares_us;   /* code of this library is not interrupted: its state must stay whole */
} cx_limit;

/* What a binding may know of its host. One for each Lua state. */
typedef struct cx_env {
  uv_loop_t *loop;
  lua_State *L;       /* the main thread: callbacks run on it */
  lua_State *task;    /* the coroutine of the task that runs, or NULL */
  lua_State *running; /* the innermost coroutine that runs, or NULL */
  cx_limit limit;     /* of what runs */
  int64_t end_by; /* while a script is ended: a deadline for all that runs, as the limit's; or 0 */
  const char *modules; /* how the names of chunks begin that are read from our folder */
  cx_log *log;
  bool is_over; /* the loop has nobody who would turn it: finalizers may open nothing any more */
  cx_live live; /* the list's head */
  void (*on_failure)(struct cx_env *env, const char *message); /* a callback raised an error */
} cx_env;

/* Makes `env` the environment of this state, and the one it belongs to. */
void cx_bind_open(lua_State *L, cx_env *env);
cx_env *cx_bind_env(lua_State *L);

/* Has coroutine.resume and coroutine.wrap say who runs. */
void cx_bind_coroutine(lua_State *L);

void cx_live_add(cx_env *env, cx_live *live);
void cx_live_remove(cx_live *live);

/* Has `load` refuse the names of our own chunks, and debug.sethook take off no limit; `data` is the
 * folder with our files. */
void cx_limit_open(lua_State *L, const char *data);

/* Makes a coroutine, and all that are created from it, look at the limit now and then (`each`:
 * after every instruction). Once the time is over an error is raised there, again and again. */
void cx_limit_hook(lua_State *co, bool each);

/* The same where it does not yet. */
void cx_limit_keep(lua_State *co);

/* Declares a userdata type: its methods, and metamethods of which __gc and __close may be among. */
void cx_bind_type(lua_State *L, const char *type, const luaL_Reg *methods, const luaL_Reg *meta);

/* A new zeroed userdata of the type, on the stack; an error where the environment is over. */
void *cx_bind_new(lua_State *L, const char *type, size_t size);

/* Pins the value at `index`; cx_bind_unpin sets the reference to LUA_NOREF and may be repeated. */
int cx_bind_pin(lua_State *L, int index);
void cx_bind_unpin(cx_env *env, int *ref);

/* Calls the pinned function with what `push` pushes (it returns how many; NULL: nothing). An error,
 * also one while pushing, goes to the host's on_failure. */
typedef int (*cx_bind_push)(lua_State *L, void *arg);
void cx_bind_call(cx_env *env, int ref, cx_bind_push push, void *arg);

/* Pushes the bytes as a string and frees the buffer, also where that raises an error. */
void cx_bind_push_buf(lua_State *L, cx_buf *buf);

/* Pushes what the JSON text says, as codex.json.decode does. 0, or CX_EJSON, CX_EDEPTH, CX_ETOOMANY
 * with nothing pushed; raises an error without memory. codex.core.json must be open. */
int cx_bind_push_json(lua_State *L, const char *text, size_t n);

/* Pushes nil, the name of the code and a text: how every binding returns failure. Returns 3. */
int cx_bind_fail(lua_State *L, int code);

/* An argument that is a string without NUL bytes, or a descriptor; another raises an error. */
const char *cx_check_text(lua_State *L, int index);
int cx_check_fd(lua_State *L, int index);

/* A finalizer may run at any allocation, and may change or empty any table that Lua knows: what is
 * read from one lives as long as nothing else is allocated. So lists and options are copied first,
 * into tables that Lua does not know. No metatable is asked.
 *
 * cx_bind_vector takes such a list of strings off the stack and pushes a userdata in its place,
 * which keeps it: pointers to its strings (NULL for what is none), and NULL at the end. */
const char **cx_bind_vector(lua_State *L);

/* Puts a copy of the options table at `index`, which must be positive, in its place. */
void cx_opt_take(lua_State *L, int index);

/* Fields of the options table at `index`; the strings live as long as a copy of cx_opt_take does.
 * Absent (nil) gives the fallback; another type raises an error that names the option. Strings hold
 * no NUL, but those of cx_opt_bytes may. Sizes are positive, times are not negative (0: absent). */
const char *cx_opt_string(lua_State *L, int index, const char *name, const char *fallback);
const char *cx_opt_bytes(lua_State *L, int index, const char *name, size_t *n);
lua_Integer cx_opt_integer(lua_State *L, int index, const char *name, lua_Integer fallback);
lua_Integer cx_opt_between(lua_State *L, int index, const char *name, lua_Integer low,
                           lua_Integer high, lua_Integer fallback);
size_t cx_opt_size(lua_State *L, int index, const char *name, size_t fallback);
uint64_t cx_opt_ms(lua_State *L, int index, const char *name);
bool cx_opt_bool(lua_State *L, int index, const char *name, bool fallback);
int cx_opt_choice(lua_State *L, int index, const char *name, const char *const choices[],
                  int fallback);

#endif
