--- Before and after every test: the same open files, live core objects, open luv handles, children
--- and working directory. What a test leaves is that test's failure. What before_each opened is
--- there before and after; whether after_each closes it is looked at when its file has ended.
--- Connections that codex.http keeps for later are no test's: they are closed first.

local busted = require "busted"
local core = require "codex.core.task"
local host = require "codex.core.host"
local proc = require "codex.proc"
local uv = require "luv"

local function open_files()
  local names = {}
  local request = uv.fs_scandir "/proc/self/fd"
  for name in function() return uv.fs_scandir_next(request) end do
    local target = uv.fs_readlink("/proc/self/fd/" .. name)
    if target and not target:find "^/proc/" and not target:find "eventpoll" then
      names[#names + 1] = name .. " " .. target
    end
  end
  table.sort(names)
  return table.concat(names, "\n")
end

local function children()
  local file = io.open(("/proc/self/task/%d/children"):format(uv.os_getpid()))
  local text = file and file:read("a"):gsub(" ", "\n") or ""
  if file then file:close() end
  return text
end

local function open_handles() return table.concat(host.handles(), "\n") end

uv.new_pipe():close() -- with its first stream a loop opens a spare descriptor, which it keeps
assert(proc.run { "true" }) -- and with the first child there may be a keeper (host/keeper.h)

-- CX_GC=stress: the collector is always in the middle of something.
if os.getenv "CX_GC" == "stress" then collectgarbage("incremental", 100, 1000, 6) end

require("tests.support.report").watch(busted)

local before

local function look()
  return {
    files = open_files(), cwd = uv.cwd(), handles = open_handles(), children = children(),
    objects = table.concat(core.live(), "\n"),
  }
end

--- The lines of one text that the other does not have as often.
local function added(was, is)
  local count, list = {}, {}
  for line in was:gmatch "[^\n]+" do count[line] = (count[line] or 0) + 1 end
  for line in is:gmatch "[^\n]+" do
    count[line] = (count[line] or 0) - 1
    if count[line] < 0 then list[#list + 1] = line end
  end
  return table.concat(list, ", ")
end

--- What is there now and was not before the test, in words. What is gone was still closing then.
local function leftovers()
  local left, after = {}, look()
  for what, was in pairs(before) do
    local new = added(was, after[what])
    if new ~= "" then left[#left + 1] = what .. ": " .. new end
  end
  return left
end

local function close_idle()
  local http = package.loaded["codex.http"]
  if http then http.close_idle() end
end

busted.subscribe({ "test", "start" }, function() before = look() end)

--- Closing takes some turns of the loop: what is still there after half a second was left open.
busted.subscribe({ "test", "end" }, function(element, parent)
  collectgarbage()
  collectgarbage()
  local left
  close_idle()
  for round = 0, 50 do
    require("codex.async").sleep(round == 0 and 0 or 0.01)
    left = leftovers()
    if #left == 0 then return end
  end
  local message = "left open:\n" .. table.concat(left, "\n")
  busted.publish({ "error", "it" }, element, parent, message, {})
end)

busted.subscribe({ "file", "end" }, function(element)
  close_idle()
  require("codex.async").sleep(0)
  local live = core.live()
  if #live == 0 then return end
  local message = "left open after the file: " .. table.concat(live, ", ")
  busted.publish({ "error", "file" }, element, nil, message, {})
end)
