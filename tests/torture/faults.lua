--- What can go wrong with a hook: one fault at every system call of the supervisor and the worker.

local M = {}

local errnos = { 1, 2, 4, 5, 9, 11, 12, 13, 22, 24, 28, 38 } -- EPERM ENOENT EINTR ... ENOSYS

--- HUP INT QUIT ILL ABRT BUS FPE KILL USR1 SEGV PIPE ALRM TERM STOP TSTP TTIN TTOU XCPU XFSZ SYS,
--- and one of real time.
local signals =
  { 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 13, 14, 15, 19, 20, 21, 22, 24, 25, 31, 36 }

local stops = { [19] = true, [20] = true, [21] = true, [22] = true } -- STOP TSTP TTIN TTOU

--- Whether a fault stops a process, so that its time must run out.
function M.is_stop(fault) return stops[fault.signal] or false end

--- Stopping is tried at every tenth place, and of the supervisor only where its alarm is set.
local function is_tried(signal, role, at, alarmed)
  return not stops[signal] or at % 10 == 0 and (role == 1 or at >= alarmed)
end

--- Every fault.
---@param calls table<integer, integer> of system calls that each process makes
---@param alarmed integer the first at which the supervisor has set its alarm
---@return tests.Fault[]
function M.all(calls, alarmed)
  local list = {}
  local function add(fault) list[#list + 1] = fault end
  for role = 0, 1 do
    for at = 1, calls[role] do
      for _, errno in ipairs(errnos) do add { role = role, at = at, errno = errno } end
      for target = 0, role do
        for _, signal in ipairs(signals) do
          if is_tried(signal, role, at, alarmed) then
            add { role = role, at = at, signal = signal, target = target, limit = 1 }
          end
        end
      end
    end
  end
  return list
end

return M
