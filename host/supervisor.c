/* Answers Codex; see supervisor.h.
 *
 * Signals wait from the first line on until the arguments say what to answer; after that, those
 * that would end us have us answer. All memory is static. This process ends in one of three
 * functions: `finish` is for all that goes wrong, a signal too, and calls nothing that a signal
 * handler may not call; `finish_well` gives the worker's last word; `wrong_usage` refuses before
 * there is a worker. Each says first that it answers, and signals then change nothing. Only when
 * the answering itself crashes does the handler end us, with 1. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "platform.h"

enum {
  REPORT = 3, /* the worker's descriptor for verdicts */
  ANSWERED = 0,
  UNSAID = 1, /* nothing could be written */
  REFUSED = 2,
  NOISE_LIMIT = 64 << 10, /* bytes that hooks print and we pass on */
  LINGER_MS = 1000,       /* for the log, once the answer is written */
  DRAIN_MS = 200,         /* for Codex to write the rest of what no hook will read */
  SHORTEST_MS = 100,      /* for an answer, however late it is */
  UNKNOWN_MS = 1000,      /* for the shell, at most, where nothing says when it was started */
  DEFAULT_LIMIT_MS = 600000,
  LONGEST_MS = 1000000000,
};

#define OURS "codex-lua hook: "

typedef struct {
  cx_verdict head;
  char text[CX_VERDICT_ROOM];
} verdict;

/* What is answered when the worker has said nothing yet, by --fail: exit code 2 where Codex takes
 * that, `continue` = false where it does not, nothing for hooks that fail open. */
static const struct {
  const char *word;
  uint32_t code;
  const char *out, *reason;
} resorts[] = {
    {"closed", REFUSED, "", OURS "\1"},
    {"halt", ANSWERED, "{\"continue\":false,\"stopReason\":\"" OURS "\1\"}", OURS "\1"},
    {"open", ANSWERED, "", ""},
};

static verdict rooms[2];
static char noise[NOISE_LIMIT];
static char key[CX_VERDICT_KEY + 1];

static struct {
  size_t resort;
  bool shows_noise; /* also with a refusal, where Codex would take it for the reason */
  int64_t limit_ms, started, last, alarm;
  pid_t shell, parent, worker;
  int null, report, printed; /* descriptors: /dev/null, what the worker says, what hooks print */
  const verdict *volatile known;
  size_t noise;
  volatile sig_atomic_t answering;
} state = {
    .limit_ms = DEFAULT_LIMIT_MS, .alarm = INT64_MAX, .report = -1, .printed = -1, .null = -1};

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static bool put(int fd, const char *text, size_t n) {
  while (n > 0) {
    ssize_t written = write(fd, text, n);
    if (written < 0 && errno == EAGAIN) {
      struct pollfd room = {.fd = fd, .events = POLLOUT};
      poll(&room, 1, LINGER_MS);
    } else if (written < 0 && errno != EINTR) {
      return false;
    } else if (written > 0) {
      text += written;
      n -= (size_t)written;
    }
  }
  return true;
}

static bool put_with(int fd, const char *text, size_t n, const char *why) {
  const char *mark;
  while ((mark = memchr(text, 1, n))) {
    size_t before = (size_t)(mark - text);
    if (!put(fd, text, before) || !put(fd, why, strlen(why))) return false;
    text += before + 1;
    n -= before + 1;
  }
  return put(fd, text, n);
}

/* Codex runs the command when nothing is left of the reason after trimming. White space of Unicode
 * begins with one of the bytes that are left out here. */
static bool is_visible(const char *text, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)text[i];
    if ((c > ' ' && c < 0x7F) || (c > 0xC2 && c != 0xE1 && c != 0xE2 && c != 0xE3)) return true;
  }
  return false;
}

static bool put_reason(const char *reason, size_t n, const char *why) {
  if (!is_visible(reason, n) && !put(STDERR_FILENO, OURS "refused ", strlen(OURS "refused ")))
    return false;
  return put_with(STDERR_FILENO, reason, n, why) && put(STDERR_FILENO, "\n", 1);
}

/* ---- The answer ------------------------------------------------------------------------------ */

/* Writes the answer, in another way where it cannot be written as it should; the exit code. */
static int answer(const cx_verdict *head, const char *text, const char *why) {
  bool refuses = head->code == REFUSED;
  const char *reason = text + head->out;
  if (refuses && put_reason(reason, head->reason, why)) return REFUSED;
  if (head->out == 0 && !refuses) return ANSWERED;
  if (head->out > 0 && put_with(STDOUT_FILENO, text, head->out, why) && put(STDOUT_FILENO, "\n", 1))
    return ANSWERED;
  if (!refuses && head->reason > 0 && put_reason(reason, head->reason, why)) return REFUSED;
  return UNSAID;
}

static int answer_unknown(const char *why) {
  static char text[256];
  const char *out = resorts[state.resort].out, *reason = resorts[state.resort].reason;
  cx_verdict head = {.code = resorts[state.resort].code};
  head.out = (uint32_t)strlen(out);
  head.reason = (uint32_t)strlen(reason);
  memcpy(text, out, head.out);
  memcpy(text + head.out, reason, head.reason);
  return answer(&head, text, why);
}

static void set_mask(bool is_full) {
  sigset_t mask;
  if (is_full)
    sigfillset(&mask);
  else
    sigemptyset(&mask);
  sigprocmask(SIG_SETMASK, &mask, NULL);
}

/* Has a process of its own write down what went wrong: nothing of Codex's is left to that, nor what
 * we do with signals. */
static void record(const char *why) {
  static char note[4096];
  if (state.known && state.known->head.note < sizeof note)
    memcpy(note, state.known->text + state.known->head.out + state.known->head.reason,
           state.known->head.note);
  if (state.null < 0 || cx__bare_fork() != 0) return;
  setsid();
  for (int fd = 0; fd < 3; fd++)
    if (dup2(state.null, fd) < 0) _exit(UNSAID);
  if (cx__cloexec_from(3) != 0) _exit(UNSAID);
  signal(SIGPIPE, SIG_DFL);
  signal(SIGXFSZ, SIG_DFL);
  set_mask(false);
  execl(cx__program(), cx__program_name(), "hook", "--record", why, note, (char *)NULL);
  _exit(UNSAID);
}

/* Ends the worker and what it waits for. */
static void kill_worker(void) {
  if (state.worker <= 0) return;
  kill(-state.worker, SIGKILL);
  kill(state.worker, SIGKILL);
}

/* Reads what Codex has still to write, once it is answered: that may be more than a pipe holds, and
 * a Codex that took a broken pipe for a failed hook would go on. */
static void drain(void) {
  static char rest[64 << 10];
  struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
  int64_t now = now_ms(), room = (state.alarm - now) / 2;
  int64_t end = now + (room < DRAIN_MS ? room : DRAIN_MS);
  int flags = fcntl(STDIN_FILENO, F_GETFL);
  struct stat kind;
  if (fstat(STDIN_FILENO, &kind) != 0 || !S_ISFIFO(kind.st_mode))
    return; /* it is none of Codex's */
  if (flags < 0 || fcntl(STDIN_FILENO, F_SETFL, flags | O_NONBLOCK) != 0) return;
  while ((now = now_ms()) < end && poll(&in, 1, (int)(end - now)) > 0) {
    ssize_t n = read(STDIN_FILENO, rest, sizeof rest);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return;
  }
}

/* Answers for the worker. */
static _Noreturn void finish(const char *why) {
  state.answering = 1;
  kill_worker();
  const verdict *known = state.known;
  int code = known ? answer(&known->head, known->text, why) : answer_unknown(why);
  record(why);
  drain();
  _exit(code);
}

/* The worker's last word. Then it writes its log, for which there is a moment; what a hook has
 * started and left may go on. */
static _Noreturn void finish_well(const verdict *last) {
  state.answering = 1;
  int code = answer(&last->head, last->text, "");
  if (code == ANSWERED || state.shows_noise) put(STDERR_FILENO, noise, state.noise);
  int64_t left = state.last - now_ms();
  struct pollfd end = {.fd = state.report};
  if (left > 0) poll(&end, 1, left < LINGER_MS ? (int)left : LINGER_MS);
  kill(state.worker, SIGKILL);
  cx__bound_forget(state.worker, true);
  _exit(code);
}

/* ---- Signals --------------------------------------------------------------------------------- */

/* An answer that is being written is not disturbed, unless it is us who crashed. */
static void on_supervisor_signal(int number, siginfo_t *info, void *context) {
  (void)context;
  bool is_crash = number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE;
  if (!state.answering) finish("a signal came in the middle of it");
  if (is_crash && info->si_code > 0) _exit(UNSAID);
}

static void set_signals(void) {
  struct sigaction action = {.sa_sigaction = on_supervisor_signal,
                             .sa_flags = SA_SIGINFO | SA_RESTART};
  struct sigaction ignore = {.sa_handler = SIG_IGN}, normal = {.sa_handler = SIG_DFL};
  sigfillset(&action.sa_mask);
  for (int i = 1; i < NSIG; i++) {
    bool is_harmless = i == SIGCHLD || i == SIGCONT || i == SIGURG || i == SIGWINCH;
    bool is_error = i == SIGPIPE || i == SIGXFSZ; /* which write says, too */
    sigaction(i, is_harmless ? &normal : is_error ? &ignore : &action, NULL);
  }
  set_mask(false); /* what waited comes now */
}

/* Milliseconds since Codex started the shell that runs us, or us where it became us: Codex counts
 * from there. Later than the limit it would not be waiting any more, so that is not true. Where it
 * cannot be known, the answer comes sooner than it has to. */
static int64_t lost_ms(void) {
  int64_t ms = cx__age_ms(state.shell ? state.shell : getpid());
  if (ms < 0) return state.limit_ms / 10 < UNKNOWN_MS ? state.limit_ms / 10 : UNKNOWN_MS;
  return ms < state.limit_ms ? ms : 0;
}

/* Has us killed before Codex's time is over: what is stopped cannot answer, but the shell that
 * waits for it can. */
static void set_alarm(void) {
  cx_alarm alarm;
  int64_t now = now_ms(), ms = state.started + state.limit_ms - now;
  ms -= state.limit_ms > 5000 ? 500 : state.limit_ms / 10;
  if (ms < SHORTEST_MS) ms = SHORTEST_MS;
  state.alarm = now + ms;
  if (cx__alarm_open(&alarm, SIGKILL) != 0) finish("there is no timer");
  cx__alarm_set(&alarm, state.alarm * 1000000);
}

/* ---- Arguments ------------------------------------------------------------------------------- */

static _Noreturn void wrong_usage(const char *what, const char *word) {
  state.answering = 1;
  bool is_said = put(STDERR_FILENO, OURS, strlen(OURS)) && put(STDERR_FILENO, what, strlen(what)) &&
                 put(STDERR_FILENO, word, strlen(word)) && put(STDERR_FILENO, "\n", 1);
  drain();
  _exit(is_said ? REFUSED : UNSAID);
}

static int64_t limit_of(const char *word) {
  char *end;
  double seconds = strtod(word, &end);
  if (!*word || *end || !(seconds > 0) || seconds * 1000 > LONGEST_MS)
    wrong_usage("--limit needs a number of seconds, not ", word);
  return (int64_t)(seconds * 1000) + 1;
}

static pid_t shell_of(const char *word) {
  char *end;
  long long number = strtoll(word, &end, 10);
  if (*end || number <= 0 || number > INT_MAX)
    wrong_usage("--shell needs the number of a process, not ", word);
  return (pid_t)number;
}

static size_t resort_of(const char *word) {
  for (size_t i = 0; i < sizeof resorts / sizeof *resorts; i++)
    if (strcmp(word, resorts[i].word) == 0) return i;
  wrong_usage("--fail is open, closed or halt, not ", word);
}

/* What concerns the supervisor; the worker reads the rest. */
static void parse(char **words) {
  for (; *words; words++) {
    const char *word = *words, *value = words[1] ? words[1] : "";
    if (strcmp(word, "--show") == 0) {
      state.shows_noise = true;
    } else if (strcmp(word, "--limit") == 0) {
      state.limit_ms = limit_of(value);
      words++;
    } else if (strcmp(word, "--fail") == 0) {
      state.resort = resort_of(value);
      words++;
    } else if (strcmp(word, "--shell") == 0) {
      state.shell = shell_of(value);
      words++;
    } else if (word[0] == '-') {
      wrong_usage("there is no such option; see codex-lua help hook: ", word);
    }
  }
}

static bool is_run_by_codex(int argc, char **argv) {
  static const char *const others[] = {"install", "uninstall", "list",    "test",
                                       "-h",      "--help",    "--record"};
  if (argc < 2 || strcmp(argv[1], "hook") != 0) return false;
  for (size_t i = 0; argc > 2 && i < sizeof others / sizeof *others; i++)
    if (strcmp(argv[2], others[i]) == 0) return false;
  return true;
}

/* ---- The worker ------------------------------------------------------------------------------ */

/* Without the supervisor nobody would hear us any more, nor whom we have started. */
static bool leave(const int report[2], const int printed[2]) {
  struct sigaction normal = {.sa_handler = SIG_DFL};
  for (int i = 1; i < NSIG; i++) sigaction(i, &normal, NULL);
  set_mask(false);
  return setsid() >= 0 && cx__bound_to(state.parent, true) == 0 &&
         dup2(printed[1], STDOUT_FILENO) >= 0 && dup2(printed[1], STDERR_FILENO) >= 0 &&
         dup2(report[1], REPORT) >= 0 && fcntl(REPORT, F_SETFD, FD_CLOEXEC) == 0 &&
         cx__close_from(REPORT + 1) == 0;
}

bool cx_is_supervised(void) { return state.parent != 0 && state.worker == 0; }

/* In hexadecimal digits, so that it can be an argument. */
static void make_key(void) {
  unsigned char bytes[CX_VERDICT_KEY / 2];
  if (cx__random(bytes, sizeof bytes) != 0) finish("there are no random numbers");
  for (size_t i = 0; i < sizeof bytes; i++) snprintf(key + 2 * i, 3, "%02x", bytes[i]);
}

/* `codex-lua hook ...` as `codex-lua hook --worker KEY ...`, for the worker alone: what the system
 * shows of its arguments stays as it was. */
static char **worker_arguments(int argc, char **argv) {
  static char worker[] = "--worker";
  char **words = malloc(((size_t)argc + 3) * sizeof *words);
  if (!words) _exit(UNSAID);
  memcpy(words, argv, 2 * sizeof *words);
  words[2] = worker;
  words[3] = key;
  memcpy(words + 4, argv + 2, ((size_t)argc - 1) * sizeof *words);
  return words;
}

/* ---- The supervisor -------------------------------------------------------------------------- */

/* A verdict that is whole counts; the next one is read into the other room. */
static void hear(void) {
  static size_t heard, into;
  static uint64_t wanted = sizeof(cx_verdict);
  verdict *next = &rooms[into];
  ssize_t n = read(state.report, (char *)next + heard, wanted - heard);
  if (n < 0 && errno == EINTR) return;
  if (n <= 0) finish("the program ended in the middle of it");
  heard += (size_t)n;
  if (heard < wanted) return;
  const cx_verdict *head = &next->head;
  if (memcmp(head->key, key, CX_VERDICT_KEY) != 0) finish("a hook wrote in the program's place");
  wanted = sizeof *head + (uint64_t)head->out + head->reason + head->note;
  if (wanted > sizeof *next) finish("its answer is too long");
  if (heard < wanted) return;
  if (head->code != ANSWERED && head->code != REFUSED) finish("its answer is none that there is");
  if (head->is_last) finish_well(next);
  state.known = next;
  state.last = state.started + (head->last_ms < state.limit_ms ? head->last_ms : state.limit_ms);
  into = 1 - into;
  heard = 0;
  wanted = sizeof *head;
}

static void overhear(struct pollfd *printed) {
  static char rest[4096];
  size_t room = NOISE_LIMIT - state.noise;
  ssize_t n = read(printed->fd, room ? noise + state.noise : rest, room ? room : sizeof rest);
  if (n > 0 && room) state.noise += (size_t)n;
  if (n == 0 || (n < 0 && errno != EINTR)) printed->fd = -1;
}

static _Noreturn void supervise(void) {
  struct pollfd fds[] = {{.fd = state.printed, .events = POLLIN},
                         {.fd = state.report, .events = POLLIN}};
  for (;;) {
    int64_t left = state.last - now_ms();
    if (left <= 0) finish("its time ran out");
    int ready = poll(fds, 2, (int)left);
    if (ready < 0 && errno != EINTR) finish("the program could not wait");
    if (ready <= 0) continue;
    if (fds[0].revents) overhear(&fds[0]);
    if (fds[1].revents) hear();
  }
}

/* A stream that is closed stays one that cannot be written: its number is given to no pipe. */
static void open_standard_streams(void) {
  do state.null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  while (state.null >= 0 && state.null < 3);
  if (state.null < 0) finish("/dev/null cannot be opened");
}

char **cx_supervise(int argc, char **argv) {
  if (!is_run_by_codex(argc, argv)) return argv;
  set_mask(true);
  parse(argv + 2);
  state.started = now_ms() - lost_ms();
  set_alarm();
  set_signals();
  state.parent = getpid();
  open_standard_streams();
  if (isatty(STDIN_FILENO))
    wrong_usage("Codex runs this, with JSON on standard input; see codex-lua help hook", "");
  state.last = state.started + state.limit_ms * 8 / 10;
  make_key();
  int report[2], printed[2];
  if (cx__pipe(report) != 0 || cx__pipe(printed) != 0) finish("there is no descriptor left");
  if (cx__bound_open() != 0) finish("there is no room for a process");
  set_mask(true); /* a signal must not find the worker with our handlers and Codex's streams */
  state.worker = fork();
  if (state.worker == 0) {
    if (!leave(report, printed)) _exit(UNSAID);
    return worker_arguments(argc, argv);
  }
  set_mask(false);
  if (state.worker < 0) finish("there is no room for a process");
  close(report[1]);
  close(printed[1]);
  state.report = report[0];
  state.printed = printed[0];
  supervise();
}
