/* A process that sees how this one ends; see witness.h. What it must know is in a page that both
 * have: there is no descriptor that somebody could close or write to. */
#include "witness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "platform.h"

enum { LIFE = 3 }; /* the witness's descriptor for this process */

static volatile bool *wanted;

/* Lets go of all that is ours but `life`, and of what would end it together with us. */
static bool leave(int life) {
  struct sigaction normal = {.sa_handler = SIG_DFL};
  sigset_t none;
  sigemptyset(&none);
  setsid();
  for (int i = 1; i < NSIG; i++) sigaction(i, &normal, NULL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (life >= 0 && dup2(life, LIFE) < 0) return false;
  if (cx__close_from(life >= 0 ? LIFE + 1 : LIFE) != 0) return false;
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < LIFE; fd++)
    if (dup2(null, fd) < 0) close(fd);
  if (null > LIFE) close(null);
  return true;
}

/* Where there is no descriptor for a process, its child sees that it has got another parent. */
static bool wait_for_end(pid_t parent, bool has_life) {
  struct pollfd end = {.fd = LIFE, .events = POLLIN};
  int ended = 1;
  if (has_life) do
      ended = poll(&end, 1, -1);
    while (ended < 0 && errno == EINTR);
  while (!has_life && getppid() == parent) poll(NULL, 0, CX_LOOK_MS);
  return ended > 0;
}

static _Noreturn void attend(pid_t parent, int life, char *const argv[]) {
  if (!leave(life)) _exit(1);
  if (wait_for_end(parent, life >= 0) && *wanted) {
    if (life >= 0) close(LIFE);
    execv(cx__program(), argv);
  }
  _exit(0);
}

int cx_witness_open(char *const argv[]) {
  void *page =
      mmap(NULL, sizeof *wanted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return -errno;
  pid_t parent = getpid();
  int life = cx__pidfd(parent);
  wanted = page;
  pid_t pid = fork();
  if (pid == 0) attend(parent, life, argv);
  int rc = pid < 0 ? -errno : 0;
  if (rc != 0) wanted = NULL;
  if (life >= 0) close(life);
  return rc;
}

bool cx_witness_wanted(bool is_wanted) {
  if (wanted) *wanted = is_wanted;
  return wanted != NULL;
}
