--- Which of several clients hears of which thread. The server knows one client only, and tells it
--- everything.

local async = require "codex.async"

local M = {}

-- A thread or conversation is in the result of these.
local opens = {
  "thread/start", "thread/resume", "thread/fork", "newConversation", "resumeConversation",
  "forkConversation",
}
local resumes = { ["thread/resume"] = true, resumeConversation = true }

--- The thread that params or a result are about; old versions call it a conversation.
---@param params table
---@return any? id
function M.of(params)
  return params.threadId or params.conversationId
    or (type(params.thread) == "table" and params.thread.id) or nil
end

-- ---- Who hears of a thread ---------------------------------------------------------------------

local function fronts_with(session, member, thread_id)
  local list = {}
  for _, front in ipairs(session._fronts) do
    if front[member][thread_id] then list[#list + 1] = front end
  end
  return list
end

--- Who is told of a thread: those who opened it or its parent, else everybody. What the server
--- still says of a thread whose clients are all gone is for whoever has asked for it since.
---@param session codex.Session
---@param thread_id? any
---@return codex.Front[]
function M.audience(session, thread_id)
  if thread_id and session._left[thread_id] then
    return fronts_with(session, "resuming", thread_id)
  end
  if #session._fronts < 2 or not thread_id then return session._fronts end
  local list = fronts_with(session, "threads", thread_id)
  return #list > 0 and list or session._fronts
end

--- Who is asked about a thread. Where those are gone who opened it nobody is, as the others know
--- nothing of it.
---@param session codex.Session
---@param thread_id? any
---@return codex.Front[]
function M.who_is_asked(session, thread_id)
  local list = M.audience(session, thread_id)
  if not thread_id or not session._opened[thread_id] then return list end
  local first = list[1]
  return first and first.threads[thread_id] and list or {}
end

--- A client hears of a thread from now on, and is asked about it.
local function join(session, front, thread_id)
  session._opened[thread_id], front.threads[thread_id] = true, true
  session._left[thread_id] = nil
end

--- A thread that another one has started is for those who have the other one.
---@param session codex.Session
---@param thread any of the server's notification
function M.adopt(session, thread)
  if type(thread) ~= "table" or not thread.id or not thread.parentThreadId then return end
  for _, front in ipairs(session._fronts) do
    if front.threads[thread.parentThreadId] then join(session, front, thread.id) end
  end
end

--- Whether any client but this one hears of a thread, or has asked to.
local function is_wanted(session, thread_id, but)
  for _, front in ipairs(session._fronts) do
    local has_it = front.threads[thread_id] or front.resuming[thread_id]
    if has_it and front ~= but then return true end
  end
  return false
end

--- A client that had this thread is gone. We do not want to hear of the thread any more where no
--- other client does.
---@param session codex.Session
---@param thread_id any
function M.leave(session, thread_id)
  if not session._shared or is_wanted(session, thread_id) then return end
  session._left[thread_id] = true
  async.spawn(session.request, session, "thread/unsubscribe", { threadId = thread_id })
end

-- ---- What clients ask --------------------------------------------------------------------------

--- That a client has asked for a thread, or has its answer.
local function count_resuming(front, thread_id, step)
  local count = (front.resuming[thread_id] or 0) + step
  front.resuming[thread_id] = count > 0 and count or nil
end

--- Whether a client's request has to be noted by `asked`.
---@param method string
---@return boolean
function M.concerns(method) return method == "thread/unsubscribe" or resumes[method] or false end

--- One of several clients is about to ask for a thread, or to leave it. The server is not to take a
--- thread from us as long as one client has it: who leaves it is answered here, but for the last.
---@param session codex.Session
---@param front codex.Front
---@param method string
---@param thread_id any
---@return string? status what the client is answered; nil where the request is for the server
function M.asked(session, front, method, thread_id)
  if resumes[method] then return count_resuming(front, thread_id, 1) end
  if not front.threads[thread_id] and not front.resuming[thread_id] then return "notSubscribed" end
  if not is_wanted(session, thread_id, front) then return nil end
  front.threads[thread_id] = nil
  return "unsubscribed"
end

local function opened(session, known, result)
  local front = known.front
  if known.thread then count_resuming(front, known.thread, -1) end
  local id = type(result) == "table" and M.of(result) or nil
  if id then
    if known.standing then session._standing:opened(known.standing, result, known.accepted) end
    join(session, front, id)
  end
  -- Who left it meanwhile did not unsubscribe, as this client was about to have it.
  local left = known.thread
  if id then left = front.gone and id end
  if left and session._opened[left] then M.leave(session, left) end
end

local function unsubscribed(_, known, result)
  if known.thread and result ~= nil then known.front.threads[known.thread] = nil end
end

--- What is learned from the answers to clients' requests, by method: fun(session, known, result),
--- `known.thread` being the thread that was asked for, and the result nil where it is an error.
M.learn = { ["thread/unsubscribe"] = unsubscribed }
for _, method in ipairs(opens) do M.learn[method] = opened end

return M
