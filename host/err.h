/* Error codes of the core, which codex_lua.h has: 0 is success, a failure is a negative number with
 * a name.
 *
 * System failures are -errno, which on Linux is also what libuv returns. The others are our own and
 * lie far from both. */
#ifndef CX_ERR_H
#define CX_ERR_H

#include "codex_lua.h"

#define CX_ERR_MAP(XX)                                                                             \
  XX(EMEMORY, "out of memory")                                                                     \
  XX(EARGUMENT, "invalid argument")                                                                \
  XX(ECLOSED, "the object is closed")                                                              \
  XX(ETOOLONG, "a message is longer than the limit")                                               \
  XX(ETIMEOUT, "the time limit ran out")                                                           \
  XX(EIDLE, "nothing was heard for too long")                                                      \
  XX(ECANCELLED, "cancelled")                                                                      \
  XX(EJSON, "not valid JSON")                                                                      \
  XX(EDEPTH, "nested too deeply")                                                                  \
  XX(ESCRIPT, "the script failed")                                                                 \
  XX(EUSAGE, "wrong usage")                                                                        \
  XX(EINTERRUPTED, "interrupted")                                                                  \
  XX(ELEAK, "something was left open")                                                             \
  XX(EPROTOCOL, "not what the protocol allows here")                                               \
  XX(ETOOMANY, "more values than the limit")

#endif
