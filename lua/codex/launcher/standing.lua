--- What a strict launcher knows of threads: which of them were begun here, and which go on with
--- settings that are harmless.
---
--- What a thread does is decided by more than its client says: by config.toml, and by what others
--- left it with. So what counts is the server's answer, which says the settings that the thread
--- has. A thread of somebody else's keeps that one's settings somewhere, so it may run once it is
--- harmless, but nothing of it is taken for ours.

local gate = require "codex.launcher.gate"
local log = require "codex.log"

local M = {}

---@class codex.Standing
---@field _workspaces codex.Workspaces
---@field _threads table<any, "begun"|"resumed">
---@field _problems table<any, string> why a thread that was opened here is none of those
---@field _folders table<any, string> where a thread works, if that is a workspace
local Standing = {}
Standing.__index = require("codex.base.class").methods(Standing)

local opens = { ["thread/start"] = true, ["thread/resume"] = true, ["thread/fork"] = true }
local moves = { ["turn/start"] = true, ["thread/settings/update"] = true }
local lets_go = { ["thread/archive"] = true, ["thread/unarchive"] = true, ["thread/delete"] = true,
  ["thread/closed"] = true, ["thread/archived"] = true, ["thread/unarchived"] = true,
  ["thread/deleted"] = true }

--- Whether something is learned from a message.
---@param method string of a client's request, or of the server's notification
---@return boolean
function M.concerns(method)
  return opens[method] or moves[method] or lets_go[method] or false
end

--- What is known of a thread. Codex goes to its folder by path, each time anew: there may be
--- another one by now, and where the thread is opened again, settings that were not there.
---@param thread_id any
---@param again? boolean it would be opened again
---@return "begun"|"resumed"|nil standing nil where its turns are a question
---@return string? problem then why, where that is known
function Standing:of(thread_id, again)
  if thread_id == nil then return nil end
  local known, folder = self._threads[thread_id], self._folders[thread_id]
  if not known then return nil, self._problems[thread_id] end
  local look = again and self._workspaces.problem or self._workspaces.problem_of_place
  local problem = folder and look(self._workspaces, folder)
  if problem then return nil, problem end
  return known
end

--- Where a policy has allowed another folder there is nothing to look at.
function Standing:_works_in(id, folder)
  local is_workspace = type(folder) == "string" and not self._workspaces:problem_of_place(folder)
  self._folders[id] = is_workspace and folder or nil
end

--- A client's request goes on to the server, or the server tells of a thread. Who lets a thread go
--- may find another one in its place: others can use it meanwhile.
---@param method string
---@param params table
---@return "begun"|"resumed"|nil standing of a thread that this request opens, where it is harmless
function Standing:passed(method, params)
  local id = params.threadId
  if lets_go[method] and id ~= nil then
    self._threads[id], self._problems[id], self._folders[id] = nil, nil, nil
  elseif moves[method] then
    if self._threads[id] and type(params.cwd) == "string" then self:_works_in(id, params.cwd) end
    return nil
  end
  if method == "thread/start" then return "begun" end
  return id ~= nil and self._threads[id] or "resumed"
end

--- The server has opened a thread, and said how.
---@param standing "begun"|"resumed" of `passed`
---@param result table
---@param accepted? string[] the parameters that a policy has accepted
function Standing:opened(standing, result, accepted)
  local id = type(result.thread) == "table" and result.thread.id
  if not id then return end
  local problem = gate.problem_of_thread(result, accepted, self._workspaces)
  self._threads[id], self._problems[id] = not problem and standing or nil, problem
  self:_works_in(id, result.cwd)
  if problem then log.warn("--strict: what thread %s does is a question: %s", id, problem) end
end

---@param workspaces codex.Workspaces
---@return codex.Standing
function M.new(workspaces)
  return setmetatable({
    _workspaces = workspaces, _threads = {}, _problems = {}, _folders = {},
  }, Standing)
end

return M
