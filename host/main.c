/* The program: which script is meant, signals, the exit code. The rest is the library. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "children.h"
#include "codex_lua.h"
#include "paths.h"
#include "platform.h"
#include "supervisor.h"
#include "witness.h"

enum { KEPT = 16 << 20 }; /* bytes */
enum { EXIT_USAGE = 2, EXIT_SIGNAL = 128, EXIT_INTERRUPTED = EXIT_SIGNAL + SIGINT };

static char usage[] =
    "usage: codex-lua FILE.lua [ARG...]   run a script (- reads it from standard input)\n"
    "       codex-lua -e CODE [ARG...]    run code\n"
    "       codex-lua COMMAND [ARG...]    run a shipped command, or one of your own\n"
    "       codex-lua                     an interactive prompt; without a terminal, as -\n"
    "       codex-lua --help | --version | help COMMAND [PART]\n"
    "exit codes: 0 success, 1 the script failed, 2 wrong usage; 130, 143, 129 ended by SIGINT,\n"
    "            SIGTERM, SIGHUP; 124 a policy or hook held it up and could not be interrupted\n";

static cx_host *host; /* for the signal handler alone */

static volatile sig_atomic_t first_signal;

static void on_main_signal(int number) {
  static volatile sig_atomic_t count;
  if (!first_signal) first_signal = number;
  if (++count > 2) {
    cx_children_kill(); /* they would die with us, but not what they have started */
    _exit(EXIT_SIGNAL + first_signal);
  }
  cx_host_interrupt(host);
}

/* Interrupted is 130 for the host, who does not know by what: 143 for SIGTERM, 129 for SIGHUP. */
static int exit_code(int code) {
  return code == EXIT_INTERRUPTED && first_signal ? EXIT_SIGNAL + first_signal : code;
}

static void handle_signals(void) {
  struct sigaction action = {.sa_handler = on_main_signal}, hangup;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGHUP, NULL, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, NULL); /* or it is nohup's wish */
}

static void set_signals(void) {
  if (!cx_is_supervised()) handle_signals(); /* or a signal ends us, and the supervisor answers */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN); /* a log that may not grow is an error of write */
  signal(SIGCHLD, SIG_DFL); /* where it is ignored the kernel would reap our children itself */
}

static bool is_one_of(const char *word, const char *const words[]) {
  while (*words && strcmp(word, *words) != 0) words++;
  return *words != NULL;
}

/* Codex does not look how `codex-lua notify ...` ends; `codex-lua notify --unfinished ...` is run
 * when that is too early. */
static void have_witness(int argc, char **argv) {
  static char unfinished[] = "--unfinished";
  static const char *const by_people[] = {"install", "uninstall", "status", "test",
                                          "-h",      "--help",    NULL};
  if (argc < 3 || strcmp(argv[1], "notify") != 0 || is_one_of(argv[2], by_people)) return;
  char **words = malloc(((size_t)argc + 2) * sizeof *words);
  if (!words) return;
  memcpy(words, argv, 2 * sizeof *words);
  words[2] = unfinished;
  memcpy(words + 3, argv + 2, ((size_t)argc - 1) * sizeof *words);
  cx_witness_open(words);
  free(words);
}

/* A descriptor below 3 that is closed would be given to the next file opened. */
static void open_standard_streams(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd < 3);
  if (fd >= 0) close(fd);
}

/* ---- Which script ---------------------------------------------------------------------------- */

static bool is_file_name(const char *word) {
  size_t n = strlen(word);
  return strchr(word, '/') || (n > 4 && strcmp(word + n - 4, ".lua") == 0);
}

static bool command_in(char *path, const char *folder, const char *below, const char *name) {
  int n = snprintf(path, PATH_MAX, "%s%s/%s.lua", folder, below, name);
  return n < PATH_MAX && access(path, R_OK) == 0;
}

/* Shipped commands first: a file of the user's own does not change what a documented one does. */
static bool find_command(char *path, const char *name) {
  static cx_paths paths;
  const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
  if (cx_paths_find(&paths, NULL, NULL) != 0) return false;
  return command_in(path, paths.data, "/scripts", name) ||
         (config && *config == '/' && command_in(path, config, "/codex-lua/scripts", name)) ||
         ((!config || *config != '/') && home &&
          command_in(path, home, "/.config/codex-lua/scripts", name));
}

static int wrong_usage(const char *what, const char *word) {
  fprintf(stderr, "codex-lua: %s '%s'\n%s", what, word, usage);
  return EXIT_USAGE;
}

static int run_command(const char *name, int argc, char **argv) {
  char path[PATH_MAX];
  if (!find_command(path, name)) return wrong_usage("there is no command", name);
  return cx_host_run_file(host, path, argc, argv);
}

static int run_help(int argc, char **argv) {
  char word[] = "--help", *text[] = {usage, NULL};
  if (argc > 0) {
    char *name = argv[0];
    memmove(argv, argv + 1, (size_t)(argc - 1) * sizeof *argv); /* words may name a part of it */
    argv[argc - 1] = word;
    return run_command(name, argc, argv);
  }
  return cx_host_run_string(host, "require('codex.cli').help(...)", "=help", 1, text);
}

static int run_option(int argc, char **argv) {
  const char *option = argv[0];
  if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) return run_help(0, NULL);
  if (strcmp(option, "--version") == 0 || strcmp(option, "-v") == 0)
    return puts("codex-lua " CX_VERSION) < 0;
  if (strcmp(option, "-e") != 0) return wrong_usage("unknown option", option);
  if (argc < 2) return wrong_usage("code is missing after", option);
  return cx_host_run_string(host, argv[1], "=(command line)", argc - 2, argv + 2);
}

static int run(int argc, char **argv) {
  if (argc == 0 && isatty(STDIN_FILENO))
    return cx_host_run_string(host, "require('codex.repl').run()", "=repl", 0, NULL);
  if (argc == 0) return cx_host_run_file(host, NULL, 0, NULL);
  if (strcmp(argv[0], "-") == 0) return cx_host_run_file(host, NULL, argc - 1, argv + 1);
  if (argv[0][0] == '-') return run_option(argc, argv);
  if (is_file_name(argv[0])) return cx_host_run_file(host, argv[0], argc - 1, argv + 1);
  if (strcmp(argv[0], "help") == 0) return run_help(argc - 1, argv + 1);
  return run_command(argv[0], argc - 1, argv + 1);
}

/* A write that failed earlier is only remembered as a flag: print does not look. */
static bool flush_output(void) {
  bool failed = ferror(stdout) != 0;
  errno = 0;
  if (fflush(stdout) == 0 && !failed) return true;
  fprintf(stderr, "codex-lua: cannot write to standard output%s%s\n", errno ? ": " : "",
          errno ? strerror(errno) : "");
  return false;
}

/* Exit handlers of libraries take a twentieth of a notify program's time. What files still hold is
 * written without them. */
static int end(int code) {
  if (!cx_host_leaves(host)) return code;
  fflush(NULL);
  _exit(code);
}

int main(int argc, char **argv) {
  cx__program_is(argv[0]);
  argv = cx_supervise(argc, argv);
  for (argc = 0; argv[argc];) argc++;
  open_standard_streams();
  have_witness(argc, argv);
  cx__keep_memory(KEPT); /* large messages need the same again and again */
  const cx_host_options options = {.ends_process = 1};
  int rc = cx_host_open(&host, &options);
  if (rc != 0) {
    fprintf(stderr, "codex-lua: cannot start: %s\n", cx_err_text(rc));
    return EXIT_FAILURE;
  }
  set_signals();
  int code = run(argc > 0 ? argc - 1 : 0, argv + (argc > 0));
  if (code < 0) {
    fprintf(stderr, "codex-lua: %s\n", cx_host_error(host));
    code = EXIT_FAILURE;
  }
  if (!flush_output() && code == 0) code = EXIT_FAILURE;
  rc = cx_host_close(host);
  if (rc != 0) fprintf(stderr, "codex-lua: %s\n", cx_err_text(rc));
  return end(rc != 0 && code == 0 ? EXIT_FAILURE : exit_code(code));
}
