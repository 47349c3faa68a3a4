/* A program with a libuv loop of its own, whose clock goes on ticking, that runs several scripts
 * one after the other inside it: each starts when the one before is over with all that it left.
 *
 *   cc embed_scripts.c $(pkg-config --cflags --libs codex-lua) -o embed_scripts && ./embed_scripts
 */
#include <codex_lua.h>

#include <stdio.h>
#include <uv.h>

/* Children and timers of a script end with it; globals and loaded modules stay. */
static const char *const scripts[] = {
    "local codex = require 'codex'\n"
    "local child = assert(codex.proc.run { 'echo', 'hello' })\n"
    "greeting = child.stdout:gsub('%s', '')\n",

    "local codex = require 'codex'\n"
    "codex.spawn(function() codex.sleep(0.05) print(greeting .. ' again') os.exit(4) end)\n",

    "codex.sleep(1)\n", /* fails: `codex` was a local variable of the others */

    "local codex = require 'codex'\n"
    "codex.proc.spawn { 'sleep', '60' }\n"
    "codex.sleep(60)\n", /* is interrupted */
};

enum { SCRIPTS = sizeof scripts / sizeof *scripts };

typedef struct {
  cx_host *host;
  uv_timer_t clock;
  int next, ticks, failures;
} program;

static void start_next(program *p);

static void on_done(void *user, int code) {
  program *p = user;
  printf("script %d: exit code %d\n", p->next, code);
  start_next(p);
}

/* The last one is over: so is the program, which may close the host from here. */
static void end(program *p) {
  if (cx_host_close(p->host) != 0) p->failures++;
  uv_close((uv_handle_t *)&p->clock, NULL);
}

static void start_next(program *p) {
  if (p->next == SCRIPTS) {
    end(p);
    return;
  }
  const char *code = scripts[p->next++];
  if (cx_host_start_string(p->host, code, "=script", 0, NULL, on_done, p) != 0) {
    fprintf(stderr, "%s\n", cx_host_error(p->host));
    p->failures++;
    end(p);
  }
  if (p->next == SCRIPTS) cx_host_interrupt(p->host);
}

static void on_tick(uv_timer_t *clock) { ((program *)clock->data)->ticks++; }

static void on_log(void *user, const char *level, const char *line) {
  (void)user;
  printf("%s: %.40s\n", level, line);
}

int main(void) {
  uv_loop_t *loop = uv_default_loop();
  cx_host_options options = {.size = sizeof options, .loop = loop, .on_log = on_log};
  program p = {0};
  int rc = cx_host_open(&p.host, &options);
  if (rc != 0) {
    fprintf(stderr, "%s: %s\n", cx_err_name(rc), cx_err_text(rc));
    return 1;
  }
  uv_timer_init(loop, &p.clock);
  p.clock.data = &p;
  uv_timer_start(&p.clock, on_tick, 1, 1);
  start_next(&p);
  uv_run(loop, UV_RUN_DEFAULT); /* until the host and the clock are closed */
  printf("the clock %s\n", p.ticks > 10 ? "went on" : "stood still");
  return uv_loop_close(loop) == 0 && p.failures == 0 ? 0 : 1;
}
