/* Names and texts of error codes; see err.h. */
#include "err.h"

#include <string.h>

const char *cx_err_name(int code) {
  switch (code) {
#define XX(name, value, text)                                                                      \
  case value:                                                                                      \
    return #name;
    CX_ERR_MAP(XX)
#undef XX
  case 0:
    return "OK";
  default: {
    const char *name = strerrorname_np(-code);
    return name ? name : "EUNKNOWN";
  }
  }
}

const char *cx_err_text(int code) {
  switch (code) {
#define XX(name, value, text)                                                                      \
  case value:                                                                                      \
    return text;
    CX_ERR_MAP(XX)
#undef XX
  case 0:
    return "success";
  default: {
    const char *text = strerrordesc_np(-code);
    return text ? text : "unknown error";
  }
  }
}
