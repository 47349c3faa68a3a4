/* Names and texts of error codes; see err.h. */
#include "err.h"

#include <errno.h>
#include <string.h>

#include "platform.h"

#ifdef CX_NO_ERROR_NAMES
#define E(name)                                                                                    \
  { name, #name }
static const struct {
  int number;
  const char *name;
} names[] = {E(E2BIG),        E(EACCES),       E(EADDRINUSE),   E(EADDRNOTAVAIL),
             E(EAFNOSUPPORT), E(EAGAIN),       E(EALREADY),     E(EBADF),
             E(EBADMSG),      E(EBUSY),        E(ECANCELED),    E(ECHILD),
             E(ECONNABORTED), E(ECONNREFUSED), E(ECONNRESET),   E(EDEADLK),
             E(EDESTADDRREQ), E(EDOM),         E(EDQUOT),       E(EEXIST),
             E(EFAULT),       E(EFBIG),        E(EHOSTUNREACH), E(EIDRM),
             E(EILSEQ),       E(EINPROGRESS),  E(EINTR),        E(EINVAL),
             E(EIO),          E(EISCONN),      E(EISDIR),       E(ELOOP),
             E(EMFILE),       E(EMLINK),       E(EMSGSIZE),     E(EMULTIHOP),
             E(ENAMETOOLONG), E(ENETDOWN),     E(ENETRESET),    E(ENETUNREACH),
             E(ENFILE),       E(ENOBUFS),      E(ENODEV),       E(ENOENT),
             E(ENOEXEC),      E(ENOLCK),       E(ENOLINK),      E(ENOMEM),
             E(ENOMSG),       E(ENOPROTOOPT),  E(ENOSPC),       E(ENOSYS),
             E(ENOTCONN),     E(ENOTDIR),      E(ENOTEMPTY),    E(ENOTSOCK),
             E(ENOTSUP),      E(ENOTTY),       E(ENXIO),        E(EOVERFLOW),
             E(EPERM),        E(EPIPE),        E(EPROTO),       E(EPROTONOSUPPORT),
             E(EPROTOTYPE),   E(ERANGE),       E(EROFS),        E(ESPIPE),
             E(ESRCH),        E(ESTALE),       E(ETIMEDOUT),    E(ETXTBSY),
             E(EXDEV),        E(EHOSTDOWN),    E(ENOTBLK),      E(ESHUTDOWN),
             E(EPFNOSUPPORT)};
#undef E

static const char *system_name(int number) {
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].number == number) return names[i].name;
  return NULL;
}

/* In the language of the locale, which is C unless a script has set another. */
static const char *system_text(int number) { return system_name(number) ? strerror(number) : NULL; }
#else
static const char *system_name(int number) { return strerrorname_np(number); }
static const char *system_text(int number) { return strerrordesc_np(number); }
#endif

const char *cx_err_name(int code) {
  switch (code) {
#define XX(name, text)                                                                             \
  case CX_##name:                                                                                  \
    return #name;
    CX_ERR_MAP(XX)
#undef XX
  case 0:
    return "OK";
  default: {
    const char *name = system_name(-code);
    return name ? name : "EUNKNOWN";
  }
  }
}

const char *cx_err_text(int code) {
  switch (code) {
#define XX(name, text)                                                                             \
  case CX_##name:                                                                                  \
    return text;
    CX_ERR_MAP(XX)
#undef XX
  case 0:
    return "success";
  default: {
    const char *text = system_text(-code);
    return text ? text : "unknown error";
  }
  }
}
