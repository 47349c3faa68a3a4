/* Runs a program and does one thing wrong to it:
 *
 *     fault REPORT ROLE N error ERRNO PROGRAM...      its N-th system call fails
 *     fault REPORT ROLE N signal TARGET SIGNAL PROGRAM...   a signal comes at its N-th system call
 *
 * ROLE and TARGET number the processes as they are forked: 0 is the program itself. Ends as the
 * program ends; REPORT then holds whether it was done, and what the system call was. Exit code 125:
 * this process may not trace another. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_TRACE = 125, ROLES = 16, ROOT = 0, HEARD = 1 };

static struct {
  int role, number, errnum, target, signal;
  const char *report;
  bool is_done;
  long long call;
} plan;

static struct {
  pid_t pid;
  int calls;
  bool is_failing;
} roles[ROLES];
static int role_count;

static int role_of(pid_t pid) {
  for (int i = 0; i < role_count; i++)
    if (roles[i].pid == pid) return i;
  if (role_count == ROLES) return -1;
  roles[role_count].pid = pid;
  return role_count++;
}

/* ---- Registers ------------------------------------------------------------------------------- */

static void skip_call(pid_t pid) {
#if defined(__x86_64__)
  struct user_regs_struct regs;
  ptrace(PTRACE_GETREGS, pid, NULL, &regs);
  regs.orig_rax = (unsigned long long)-1;
  ptrace(PTRACE_SETREGS, pid, NULL, &regs);
#elif defined(__aarch64__)
  int none = -1;
  struct iovec part = {&none, sizeof none};
  ptrace(PTRACE_SETREGSET, pid, (void *)0x404 /* NT_ARM_SYSTEM_CALL */, &part);
#endif
}

static void set_result(pid_t pid, long value) {
#if defined(__x86_64__)
  struct user_regs_struct regs;
  ptrace(PTRACE_GETREGS, pid, NULL, &regs);
  regs.rax = (unsigned long long)value;
  ptrace(PTRACE_SETREGS, pid, NULL, &regs);
#elif defined(__aarch64__)
  struct user_regs_struct regs;
  struct iovec part = {&regs, sizeof regs};
  ptrace(PTRACE_GETREGSET, pid, (void *)1 /* NT_PRSTATUS */, &part);
  regs.regs[0] = (unsigned long long)value;
  ptrace(PTRACE_SETREGSET, pid, (void *)1, &part);
#endif
}

/* ---- What happens ---------------------------------------------------------------------------- */

static void do_wrong(int role, pid_t pid, long long call) {
  plan.is_done = true;
  plan.call = call;
  if (plan.signal == 0) {
    roles[role].is_failing = true;
    skip_call(pid);
  } else if (plan.target < role_count) {
    kill(roles[plan.target].pid, plan.signal);
  }
}

static void on_call(pid_t pid) {
  struct __ptrace_syscall_info info;
  int role = role_of(pid);
  if (role < 0 || ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0) return;
  if (info.op == PTRACE_SYSCALL_INFO_EXIT && roles[role].is_failing) {
    roles[role].is_failing = false;
    set_result(pid, -plan.errnum);
  } else if (info.op == PTRACE_SYSCALL_INFO_ENTRY && ++roles[role].calls == plan.number &&
             role == plan.role) {
    do_wrong(role, pid, (long long)info.entry.nr);
  }
}

/* Goes on with a process that stopped; what stopped it is passed on. */
static void go_on(pid_t pid, int status) {
  int signal = WSTOPSIG(status), event = status >> 16;
  if (signal == (SIGTRAP | 0x80)) {
    on_call(pid);
    signal = 0;
  } else if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
    ptrace(PTRACE_LISTEN, pid, NULL, NULL); /* it is stopped for good */
    return;
  } else if (event != 0) {
    if (event == PTRACE_EVENT_EXEC && pid == roles[ROOT].pid) roles[ROOT].calls = 0;
    signal = 0;
  }
  ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)signal);
}

static void write_report(void) {
  FILE *file = fopen(plan.report, "w");
  if (!file) return;
  fprintf(file, "%s %lld\n", plan.is_done ? "done" : "never", plan.call);
  fclose(file);
}

static int end_as(int status) {
  write_report();
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  signal(WTERMSIG(status), SIG_DFL);
  raise(WTERMSIG(status));
  return 128 + WTERMSIG(status);
}

/* Until the program has ended, and what is to be done to a process that it leaves is done. */
static int watch(void) {
  bool is_ended = false;
  int end = 0;
  while (!is_ended || (plan.role > HEARD && !plan.is_done)) {
    int status;
    pid_t pid = waitpid(-1, &status, __WALL);
    if (pid < 0 && is_ended) break;
    if (pid < 0) return CANNOT_TRACE;
    if (WIFSTOPPED(status)) {
      go_on(pid, status);
    } else if (pid == roles[ROOT].pid) {
      is_ended = true;
      end = status;
    }
  }
  return end_as(end);
}

static char **parse(char **words, int count) {
  bool is_signal = count > 4 && strcmp(words[4], "signal") == 0;
  int program = is_signal ? 7 : 6;
  if (count <= program) exit(CANNOT_TRACE);
  plan.report = words[1];
  plan.role = atoi(words[2]);
  plan.number = atoi(words[3]);
  if (is_signal) {
    plan.target = atoi(words[5]);
    plan.signal = atoi(words[6]);
  } else {
    plan.errnum = atoi(words[5]);
  }
  return words + program;
}

int main(int argc, char **argv) {
  char **program = parse(argv, argc);
  char go = 0;
  int gate[2];
  if (pipe(gate) != 0) return CANNOT_TRACE;
  pid_t pid = fork();
  if (pid == 0) {
    close(gate[1]);
    if (read(gate[0], &go, 1) != 1) _exit(CANNOT_TRACE);
    close(gate[0]);
    execv(program[0], program);
    _exit(127);
  }
  close(gate[0]);
  long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                 PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
  if (pid < 0 || ptrace(PTRACE_SEIZE, pid, NULL, (void *)options) != 0) return CANNOT_TRACE;
  role_of(pid);
  roles[ROOT].calls = -1000000; /* until it is the program */
  ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
  if (write(gate[1], &go, 1) != 1) return CANNOT_TRACE;
  close(gate[1]);
  return watch();
}
