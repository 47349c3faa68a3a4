/* A C program with Codex scripting inside: it offers a module to Lua, runs a script, posts an event
 * to it, and reads the exit code.
 *
 *   cc embed.c $(pkg-config --cflags --libs codex-lua) -o embed && ./embed
 */
#include <codex_lua.h>

#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static int add(lua_State *L) {
  lua_pushinteger(L, luaL_checkinteger(L, 1) + luaL_checkinteger(L, 2));
  return 1;
}

static int open_calculator(lua_State *L) {
  static const luaL_Reg functions[] = {{"add", add}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}

static const char script[] = "local codex, calculator = require 'codex', require 'calculator'\n"
                             "print('sum', calculator.add(2, 3))\n"
                             "local news = codex.signal()\n"
                             "codex.on('weather', function(payload) news:notify(payload) end)\n"
                             "print('weather', news:wait())\n"
                             "os.exit(7)\n";

static void on_done(void *user, int code) { *(int *)user = code; }

static void on_tick(uv_timer_t *timer) {
  cx_host_post(timer->data, "weather", "sunny", strlen("sunny"));
  uv_close((uv_handle_t *)timer, NULL);
}

int main(void) {
  uv_loop_t *loop = uv_default_loop(); /* the program's own loop: the host lives inside it */
  cx_host_options options = {.loop = loop};
  cx_host *host;
  uv_timer_t timer;
  int code = -1;
  if (cx_host_open(&host, &options) != 0) return 1;
  cx_host_register(host, "calculator", open_calculator);
  if (cx_host_start_string(host, script, "=embedded", 0, NULL, on_done, &code) != 0) {
    fprintf(stderr, "%s\n", cx_host_error(host));
    return 1;
  }
  uv_timer_init(loop, &timer);
  timer.data = host;
  uv_timer_start(&timer, on_tick, 10, 0);
  uv_run(loop, UV_RUN_DEFAULT);
  printf("exit code %d\n", code);
  int rc = cx_host_close(host);
  uv_run(loop, UV_RUN_DEFAULT);
  return rc == 0 && uv_loop_close(loop) == 0 ? 0 : 1;
}
