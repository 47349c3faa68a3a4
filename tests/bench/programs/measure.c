/* measure REPORT PROGRAM [ARG...]: runs a program and writes what it cost to the file REPORT, one
 * line: wall time in ns, CPU time in us, peak memory in KiB, exit code (128 + n for signal n).
 *
 * It stands between the harness and the program because Linux charges the peak memory of whoever
 * forks to what is forked: up to the exec a child runs on its parent's pages, and ru_maxrss keeps
 * that. Linked statically this program has next to none. CPU time covers the program and all its
 * descendants, also those it left to others: they come to us, who wait for them. Peak memory is
 * that of the largest single process. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static long long cpu_us(const struct rusage *usage) {
  return (long long)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 +
         usage->ru_utime.tv_usec + usage->ru_stime.tv_usec;
}

int main(int argc, char **argv) {
  pid_t pid;
  if (argc < 3) return 2;
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  long long start = now_ns(), end = start;
  int rc = posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ);
  if (rc != 0) {
    fprintf(stderr, "measure: cannot start %s: %s\n", argv[2], strerror(rc));
    return 127;
  }
  long long cpu = 0;
  long memory = 0;
  int status, code = 0;
  struct rusage usage;
  for (pid_t ended; (ended = wait4(-1, &status, 0, &usage)) > 0 || errno == EINTR;) {
    if (ended < 0) continue;
    cpu += cpu_us(&usage);
    if (usage.ru_maxrss > memory) memory = usage.ru_maxrss;
    if (ended != pid) continue;
    end = now_ns();
    code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  FILE *report = fopen(argv[1], "w");
  if (!report) return 1;
  fprintf(report, "%lld %lld %ld %d\n", end - start, cpu, memory, code);
  return fclose(report) == 0 ? code : 1;
}
