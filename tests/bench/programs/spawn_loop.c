/* spawn_loop N AT_ONCE PROGRAM [ARG...]: starts a program so often and waits for each, so many at
 * the same time, with its standard streams on /dev/null and no more than that. */
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

static void start(const posix_spawn_file_actions_t *actions, char **argv) {
  pid_t pid;
  if (posix_spawn(&pid, argv[0], actions, NULL, argv, environ) != 0) exit(1);
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  int left = atoi(argv[1]), running = 0, at_once = atoi(argv[2]), status;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  while (left > 0 || running > 0) {
    for (; left > 0 && running < at_once; left--, running++) start(&actions, argv + 3);
    if (wait(&status) < 0 || status != 0) return 1;
    running--;
  }
  return 0;
}
