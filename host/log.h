/* One log sink for each host, with levels; no secrets in what reaches it, and nothing that a
 * terminal would obey.
 *
 * A secret is what somebody declared with cx_log_secret(), and what redact.h takes for one. */
#ifndef CX_LOG_H
#define CX_LOG_H

#include <stdarg.h>

#include "buf.h"
#include "secrets.h"

typedef enum { CX_LOG_DEBUG, CX_LOG_INFO, CX_LOG_WARN, CX_LOG_ERROR, CX_LOG_OFF } cx_log_level;

/* Receives one finished line, without newline. */
typedef void (*cx_log_sink)(void *user, cx_log_level level, const char *line);

typedef struct cx_log {
  cx_log_level level; /* what is below it is not written */
  cx_log_sink sink;   /* standard error at first */
  void *user;
  cx_secrets secrets;
} cx_log;

/* Starts at `warn`, on standard error. */
void cx_log_init(cx_log *log);
void cx_log_free(cx_log *log);

void cx_log_write(cx_log *log, cx_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void cx_log_write_v(cx_log *log, cx_log_level level, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* Remembers a secret so that it is never written, in any spelling; see cx_secrets_tell. */
int cx_log_secret(cx_log *log, const char *secret);

/* Appends `text` to `out` with every secret replaced by "[redacted]": secrets that overlap by one
 * such word. 0 or CX_EMEMORY. */
int cx_log_redact(const cx_log *log, const char *text, size_t n, cx_buf *out);

/* "debug" ... "off"; -1 for another word. */
int cx_log_level_of(const char *name);
const char *cx_log_level_name(cx_log_level level);

#endif
