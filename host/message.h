/* One message of JSON-RPC, of which only the outer object is read: what kind it is, its id, its
 * method, and where its payload stands. The payload stays text, so that passing a message on costs
 * one scan and no tree, and its bytes stay as they were sent.
 *
 * Messages are told apart by "has a method" and "has an id", never by the id alone. */
#ifndef CX_MESSAGE_H
#define CX_MESSAGE_H

#include <stddef.h>

#include "buf.h"

typedef enum {
  CX_MESSAGE_REQUEST,
  CX_MESSAGE_NOTIFICATION,
  CX_MESSAGE_RESULT,
  CX_MESSAGE_ERROR
} cx_message_kind;

/* Valid until the next call with the same scratch, and while the line is. */
typedef struct cx_message {
  cx_message_kind kind;
  cx_span line;
  cx_span id;      /* JSON text: a number, a string with its quotes, or null */
  cx_span method;  /* the name itself */
  cx_span payload; /* JSON text of params, result or error */
} cx_message;

/* Reads the outer object of one message. 0; CX_EJSON where the text is no JSON object; CX_EPROTOCOL
 * where it is one but no message of JSON-RPC; CX_EMEMORY. The payload may still prove not to be
 * JSON. Of a member that occurs twice the first counts. */
int cx_message_read(cx_message *message, const char *line, size_t n, cx_buf *scratch);

#endif
