/* Error codes of the core: 0 is success, a failure is a negative number with a name.
 *
 * System failures are -errno, which on Linux is also what libuv returns. The codes below are our
 * own and lie far from both. */
#ifndef CX_ERR_H
#define CX_ERR_H

#define CX_ERR_MAP(XX)                                                                             \
  XX(EMEMORY, -9001, "out of memory")                                                              \
  XX(EARGUMENT, -9002, "invalid argument")                                                         \
  XX(ECLOSED, -9003, "the object is closed")                                                       \
  XX(ETOOLONG, -9004, "a message is longer than the limit")                                        \
  XX(ETIMEOUT, -9005, "the time limit ran out")                                                    \
  XX(EIDLE, -9006, "nothing was heard for too long")                                               \
  XX(ECANCELLED, -9007, "cancelled")                                                               \
  XX(EJSON, -9008, "not valid JSON")                                                               \
  XX(EDEPTH, -9009, "nested too deeply")                                                           \
  XX(ESCRIPT, -9010, "the script failed")                                                          \
  XX(EUSAGE, -9011, "wrong usage")                                                                 \
  XX(EINTERRUPTED, -9012, "interrupted")                                                           \
  XX(ELEAK, -9013, "something was left open")                                                      \
  XX(EPROTOCOL, -9014, "not what the protocol allows here")                                        \
  XX(ETOOMANY, -9015, "more values than the limit")

enum cx_err {
#define XX(name, code, text) CX_##name = (code),
  CX_ERR_MAP(XX)
#undef XX
};

/* The symbolic name ("ETOOLONG", "ENOENT"); never NULL. */
const char *cx_err_name(int code);

/* What it means, in lower case without a full stop; never NULL. */
const char *cx_err_text(int code);

#endif
