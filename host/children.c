/* The children of this process; see children.h. */
#include "children.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

enum { MOST = 1024 };

/* A process id, negative for a group, as kill() has it; 0: free. Several threads have children. */
static _Atomic int targets[MOST];

static void exchange(int from, int other, int to) {
  for (size_t i = 0; i < MOST; i++) {
    int is = targets[i];
    if ((is == from || is == other) && atomic_compare_exchange_strong(&targets[i], &is, to)) return;
  }
}

void cx_children_add(int pid, bool leads) { exchange(0, 0, leads ? -pid : pid); }
void cx_children_remove(int pid) { exchange(pid, -pid, 0); }

void cx_children_kill(void) {
  for (size_t i = 0; i < MOST; i++) {
    int target = targets[i];
    if (target) kill(target, SIGKILL);
  }
}
