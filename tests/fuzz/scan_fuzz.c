/* What the strict reader takes, cJSON takes, too; ids that are equal by value have one form, which
 * stands for itself; the outside of a message is what the lenient reader says it is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "envelope.h"
#include "err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_id(cx_span id) {
  cx_buf once = {0}, twice = {0};
  if (cx_envelope_id(id, &once) != 0) abort();
  if (cx_envelope_id((cx_span){cx_buf_bytes(&once), once.len}, &twice) != 0) abort();
  if (once.len != twice.len || memcmp(cx_buf_bytes(&once), cx_buf_bytes(&twice), once.len) != 0)
    abort();
  cx_buf_free(&once);
  cx_buf_free(&twice);
}

static void check_message(const char *text, size_t n) {
  cx_envelope e;
  cx_message m;
  cx_buf scratch = {0};
  int rc = cx_envelope_read(&e, text, n, NULL);
  if (rc != 0) {
    if (!e.problem[0]) abort();
    return;
  }
  if (cx_message_read(&m, text, n, &scratch) != 0 || m.kind != e.kind) abort();
  if (m.id.at != e.id.at || m.id.n != e.id.n || m.payload.at != e.payload.at) abort();
  if (e.id.n) check_id(e.id);
  cx_buf_free(&scratch);
}

/* cJSON refuses numbers of more than 63 characters that are no integers. */
static bool has_long_number(const char *text, size_t n) {
  size_t run = 0;
  for (size_t i = 0; i < n && run < 60; i++)
    run = text[i] && strchr("0123456789+-.eE", text[i]) ? run + 1 : 0;
  return run >= 60;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *text = (const char *)data;
  cx_fault fault;
  int rc = cx_scan(text, size, NULL, NULL, &fault);
  if (rc != 0 && rc != CX_EJSON && rc != CX_EDEPTH && rc != CX_ETOOMANY) abort();
  if ((rc == 0) != (fault.what == NULL) || fault.at > size) abort();
  if (rc == 0 && !has_long_number(text, size)) {
    cJSON *tree = cJSON_ParseWithLength(text, size);
    if (!tree) abort();
    cJSON_Delete(tree);
  }
  check_message(text, size);
  return 0;
}
