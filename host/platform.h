/* What not every Unix has. The rest of the program calls POSIX.1-2008 and what glibc, musl, macOS
 * and the BSDs have besides (asprintf, flock, wait4, MAP_ANONYMOUS); everything else is called in
 * platform.c, or behind a switch that is set here, and that brings another way of doing it. Each
 * can be set by hand, and CX_PORTABLE sets them all; tests/platform_spec.lua looks at what is
 * called then.
 *
 * The functions give 0 or more, or a negative errno, unless they say otherwise. Those marked "bare"
 * may be called in a signal handler, and between fork and exec. */
#ifndef CX_PLATFORM_H
#define CX_PLATFORM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* ---- Switches -------------------------------------------------------------------------------- */

#if defined(CX_PORTABLE) || !defined(__linux__)
#define CX_NO_PIDFD 1        /* a thread waits for each child; the witness looks every 10 ms */
#define CX_NO_PDEATHSIG 1    /* the keeper kills our children when we end */
#define CX_NO_CLOSE_RANGE 1  /* poll says which descriptors are open */
#define CX_NO_SOCKET_MODE 1  /* a socket's file gets its mode before it is listened on */
#define CX_NO_PROC_EXE 1     /* our program is where the first argument says */
#define CX_NO_PROC_STAT 1    /* a tenth of a hook's time, a second at most, counts as lost */
#define CX_NO_EPOLL 1        /* the HTTP server, and a loop inside another, look every 10 ms */
#define CX_NO_MAP_POPULATE 1 /* memory comes page by page */
#define CX_NO_BARE_FORK 1    /* fork, with whatever others want done then */
#define CX_NO_ERROR_NAMES 1  /* a table of our own, and strerror's texts */
#endif

#if defined(CX_PORTABLE) || defined(__APPLE__)
#define CX_NO_CLOEXEC_FLAGS 1  /* flags come a moment later: meanwhile no other thread may exec */
#define CX_NO_TIMER_CREATE 1   /* the keeper sends signals at their time */
#define CX_NO_GETRANDOM 1      /* /dev/urandom */
#define CX_NO_EXPLICIT_BZERO 1 /* bytes are cleared one by one */
#define CX_NO_MEMRCHR 1        /* a loop of our own */
#define CX_NO_VFORK 1          /* fork: starting a child costs more, the larger we are */
#endif

#ifdef CX_PORTABLE
#define CX_NO_MEMMEM 1  /* a loop of our own */
#define CX_NO_MALLOPT 1 /* free memory goes back to the system as its library likes */
#endif

#ifdef __GLIBC__
#if !__GLIBC_PREREQ(2, 34)
#define CX_NO_CLOSE_RANGE 1
#define CX_NO_BARE_FORK 1
#define CX_NO_ERROR_NAMES 1
#endif
#else /* musl, or no Linux */
#define CX_NO_MALLOPT 1
#define CX_NO_CLOSE_RANGE 1
#define CX_NO_ERROR_NAMES 1
#endif

#ifdef __APPLE__
enum { CX_MAXRSS_PER_KIB = 1024 };
#else
enum { CX_MAXRSS_PER_KIB = 1 };
#endif

enum { CX_LOOK_MS = 10 }; /* between looks at what cannot say that something came */

extern char **environ;

/* ---- Descriptors ----------------------------------------------------------------------------- */

/* A pipe that no exec inherits. */
int cx__pipe(int ends[2]);

/* A stream socket of the Unix domain that does not block and that no exec inherits. */
int cx__socket(void);

/* Has the file of a socket that is to be bound the owner's permissions alone: the first is called
 * before it is bound, the second before it is listened on, when nobody can have connected. */
int cx__socket_set_mode(int fd);
int cx__socket_file_set_mode(const char *path);

/* The next connection of a socket that is listened on; as cx__socket. */
int cx__accept(int fd);

/* Closes all descriptors from this one on, or has no exec inherit them. 0, or -errno where one is
 * left. Bare. */
int cx__close_from(int first);
int cx__cloexec_from(int first);

/* ---- Processes ------------------------------------------------------------------------------- */

/* A descriptor that is readable once the process has ended; -ENOSYS where there are none. */
int cx__pidfd(pid_t pid);

/* fork without what fork is to do for others, in a signal handler. Bare. */
pid_t cx__bare_fork(void);

/* vfork, or fork. A macro, since who vforks must not return. */
#ifdef CX_NO_VFORK
#define cx__vfork fork
#else
#define cx__vfork vfork
#endif

/* Children that are killed when their parent ends, however it does. The parent makes ready before
 * it starts the first, each child says so before anything else (bare), and the parent forgets each
 * that has ended before it reaps it. With `has_group` the child is the leader of its process group,
 * and all of that is killed. -ESRCH to the child: the parent has ended already. */
int cx__bound_open(void);
int cx__bound_to(pid_t parent, bool has_group);
void cx__bound_forget(pid_t child, bool has_group);

/* A signal that this process gets at a time, also while it is stopped. */
typedef struct cx_alarm {
  int number;
#ifndef CX_NO_TIMER_CREATE
  timer_t timer;
#endif
} cx_alarm;

/* 0, or -errno: there will be none. */
int cx__alarm_open(cx_alarm *alarm, int number);

/* In nanoseconds on CLOCK_MONOTONIC; 0: not at all. Where that cannot be had, it comes now. */
void cx__alarm_set(const cx_alarm *alarm, int64_t time);

/* Milliseconds since the process was started; -1: that cannot be known. Bare. */
int64_t cx__age_ms(pid_t pid);

/* Called first of all with the program's own name, argv[0]. */
void cx__program_is(const char *name);

/* The path of this program: for exec, with what argv[0] must be then (bare), and its real one. ""
 * where that cannot be known: such an exec fails. */
const char *cx__program(void);
const char *cx__program_name(void);
void cx__program_path(char path[PATH_MAX]);

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Bytes that cannot be guessed. It does not wait for them: -EAGAIN. */
int cx__random(void *bytes, size_t n);

/* mmap of private memory, there at once where that is possible; NULL: there is none. */
void *cx__map(size_t n);

/* Has so many free bytes kept for later, where that can be said. */
void cx__keep_memory(int bytes);

/* Overwrites what will not be read again, which a compiler leaves out of memset. */
void cx__wipe(void *bytes, size_t n);

/* The last of these bytes that is `c`, and the first place of `word` among them; NULL: there is
 * none. */
const char *cx__last(const char *bytes, char c, size_t n);
const char *cx__find(const char *bytes, size_t n, const char *word, size_t length);

#endif
