/* codex: stands in for Codex. As `codex ... exec ...` it reads its standard input to the end and
 * prints the file EVENTS; asked anything else (--version, --help) it becomes the real program,
 * REAL, so that whoever looks at what it can do sees that. */
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static bool has(char **argv, const char *word) {
  for (char **arg = argv + 1; *arg; arg++)
    if (strcmp(*arg, word) == 0) return true;
  return false;
}

static int print(const char *path) {
  static char buffer[64 * 1024];
  ssize_t n;
  int fd = open(path, O_RDONLY);
  if (fd < 0) return 1;
  while ((n = read(fd, buffer, sizeof buffer)) > 0)
    for (ssize_t at = 0, done; at < n; at += done)
      if ((done = write(STDOUT_FILENO, buffer + at, (size_t)(n - at))) < 0) return 1;
  return n < 0;
}

int main(int argc, char **argv) {
  char buffer[4096];
  (void)argc;
  if (!has(argv, "exec") || has(argv, "--help")) {
    execv(REAL, argv);
    return 127;
  }
  while (read(STDIN_FILENO, buffer, sizeof buffer) > 0) continue;
  return print(EVENTS);
}
