/* What a child is started with, read from Lua. */
#ifndef CX_ARGV_H
#define CX_ARGV_H

#include <lua.h>

#include "proc.h"

/* Reads the list of arguments and the table of options at these indices, the latter of which it
 * takes (cx_opt_take). Raises an error that names what is wrong. What `o` points to lives as long
 * as the stack's values do, of which there are more afterwards. */
void cx_argv_read(lua_State *L, int list, int options, cx_proc_options *o);

/* Sets the fields of a child's status in the table on top of the stack: pid, exited, code, signal,
 * max_rss_kib, cpu_us, and reason where we ended it. */
void cx_argv_push_status(lua_State *L, const cx_proc_status *status);

#endif
