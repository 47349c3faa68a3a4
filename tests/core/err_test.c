/* Error codes: every one has a name and a text, ours and the system's. */
#include "err.h"

#include <errno.h>

#include "test.h"

static const struct {
  int code;
  const char *name, *text;
} cases[] = {
#define XX(name, text) {CX_##name, #name, text},
    CX_ERR_MAP(XX)
#undef XX
        {0, "OK", "success"},
    {-ENOENT, "ENOENT", "No such file or directory"},
    {-EMFILE, "EMFILE", "Too many open files"},
    {-4095, "EUNKNOWN", "unknown error"}, /* UV_EOF has no errno */
    {-123456, "EUNKNOWN", "unknown error"},
    {1, "EUNKNOWN", "unknown error"},
};

int main(void) {
  size_t n = sizeof cases / sizeof *cases;
  for (size_t i = 0; i < n; i++) {
    CHECK(strcmp(cx_err_name(cases[i].code), cases[i].name) == 0, "%d", cases[i].code);
    CHECK(strcmp(cx_err_text(cases[i].code), cases[i].text) == 0, "%d", cases[i].code);
    for (size_t j = 0; j < i; j++)
      if (cases[i].code == cases[j].code) CHECK(false, "code %d is there twice", cases[i].code);
  }
  return report("err_test");
}
