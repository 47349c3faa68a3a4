/* Newline frames: bytes go in as they come, whole lines come out. No input or output of its own.
 *
 * Each byte is looked at once, however the input is split. A line longer than the limit is reported
 * once, its bytes are thrown away, and the next line is found as if nothing had happened, so that
 * memory stays bounded also when the newline never comes. */
#ifndef CX_LINES_H
#define CX_LINES_H

#include <stdbool.h>

#include "buf.h"

typedef struct cx_lines {
  cx_buf buf;
  size_t limit;   /* longest line, in bytes without its newline */
  size_t scanned; /* bytes of buf known to hold no newline */
  size_t kept;    /* an empty buffer may be so large (4 KiB) */
  bool skipping;  /* inside a line that was too long */
  bool keep_cr;   /* give lines as they are, also "\r" at their end */
  bool ended;     /* the input is complete: what is left is the last line */
} cx_lines;

void cx_lines_init(cx_lines *lines, size_t limit);

/* 0 or CX_EMEMORY. */
int cx_lines_feed(cx_lines *lines, const char *data, size_t n);

/* Says that no more comes. */
void cx_lines_end(cx_lines *lines);

/* The next line, without "\n" or "\r\n": 1 and *line, *n, valid until the next call on `lines`;
 * 0 when there is none now; CX_ETOOLONG once for each line over the limit. */
int cx_lines_next(cx_lines *lines, const char **line, size_t *n);

/* Everything that was fed and not yet taken, for a reader that wants no lines. */
size_t cx_lines_take(cx_lines *lines, const char **data);
void cx_lines_taken(cx_lines *lines, size_t n);

/* Bytes held. */
size_t cx_lines_held(const cx_lines *lines);

void cx_lines_free(cx_lines *lines);

#endif
