--- Valid messages of a client, as captured, each made to leave a trace: a file that is not there
--- before (the marker), or its name in config.toml. What has no capture is a captured message under
--- another method; that Codex runs it without a mutation is asserted, so none of them is made up.

local files = require "codex.files"
local peers = require "tests.support.peers"
local tree = require "tests.differential.tree"

local M = {}

--- A client's line of a captured stream: the first with this method, or the first answer.
local function captured(name, method)
  local path = ("%s/tests/fixtures/appserver-%s.jsonl"):format(peers.root, name)
  for line in assert(files.read(path)):gmatch "[^\n]+" do
    local record = tree.parse(line)
    local message = tree.member(record, "msg")
    if message and tree.member(record, "dir").value.text == '"c2s"' then
      local found = tree.member(message.value, "method")
      local is = found and found.value.text == ('"%s"'):format(method)
      if is or not method and not found then return message.value end
    end
  end
  error(("%s has no %s of a client"):format(path, method or "answer"))
end

local full_access = { type = "dangerFullAccess" }

local function text_input(text) return { { type = "text", text = text } } end

local function requests(message, values)
  tree.set(message, values.id, "id")
end

--- What the values are: `marker` the file, `cwd` another folder, `id` of the request, `thread`,
--- `ask` the id of an open question. Their length does not change what a mutation does.
---@class tests.Seed
---@field name string
---@field from string the capture
---@field method? string of the captured message; nil: an answer
---@field needs? "thread"|"turns"|"command"|"patch" what must be there for it
---@field weight number how often it is taken
---@field then_turn? boolean a turn of ours then tells what it did
---@field slow? boolean what it does takes a turn
---@field arm fun(message: table, values: table)
---@type tests.Seed[]
M.list = {
  {
    name = "command/exec", from = "0.169.0-misc", method = "command/exec", weight = 14,
    arm = function(message, values)
      tree.set(message, { "touch", values.marker }, "params", "command")
      tree.set(message, values.cwd, "params", "cwd")
      tree.set(message, full_access, "params", "sandboxPolicy")
    end,
  },
  {
    name = "process/spawn", from = "0.169.0-misc", method = "command/exec", weight = 8,
    arm = function(message, values)
      tree.set(message, "process/spawn", "method")
      tree.set(message, { "touch", values.marker }, "params", "command")
      tree.set(message, "h" .. values.id, "params", "processHandle")
      tree.set(message, values.cwd, "params", "cwd")
    end,
  },
  {
    name = "fs/writeFile", from = "0.169.0-misc", method = "fs/writeFile", weight = 22,
    arm = function(message, values) tree.set(message, values.marker, "params", "path") end,
  },
  {
    name = "fs/copy", from = "0.169.0-misc", method = "fs/readFile", weight = 6,
    arm = function(message, values)
      tree.set(message, "fs/copy", "method")
      message[#message].value = tree.parse "{}"
      tree.set(message, values.cwd .. "/source", "params", "sourcePath")
      tree.set(message, values.marker, "params", "destinationPath")
    end,
  },
  {
    name = "config/value/write", from = "0.169.0-misc", method = "config/value/write", weight = 7,
    arm = function(message, values)
      tree.set(message, "projects", "params", "keyPath")
      tree.set(message, { [values.marker] = { trust_level = "trusted" } }, "params", "value")
      tree.set(message, "upsert", "params", "mergeStrategy")
    end,
  },
  {
    name = "config/batchWrite", from = "0.169.0-misc", method = "config/batchWrite", weight = 5,
    arm = function(message, values)
      tree.set(message, {
        { keyPath = "projects", value = { [values.marker] = { trust_level = "trusted" } },
          mergeStrategy = "upsert" },
      }, "params", "edits")
    end,
  },
  {
    name = "thread/shellCommand", from = "0.169.0-misc", method = "thread/shellCommand", weight = 6,
    needs = "thread",
    arm = function(message, values)
      tree.set(message, values.thread, "params", "threadId")
      tree.set(message, "touch " .. values.marker, "params", "command")
    end,
  },
  {
    name = "thread/start, a server of tools", from = "0.169.0-cmd-approval-accept",
    method = "thread/start", weight = 2,
    arm = function(message, values)
      local tool = { command = "touch", args = { values.marker } }
      tree.set(message, "read-only", "params", "sandbox")
      tree.set(message, values.cwd, "params", "cwd")
      tree.set(message, { mcp_servers = { m = tool } }, "params", "config")
    end,
  },
  {
    name = "thread/start, full access", from = "0.169.0-cmd-approval-accept",
    method = "thread/start", weight = 2,
    arm = function(message, values)
      tree.set(message, values.cwd, "params", "cwd")
      tree.set(message, "never", "params", "approvalPolicy")
      tree.set(message, "danger-full-access", "params", "sandbox")
      tree.set(message, "touch " .. values.marker, "params", "developerInstructions")
    end,
  },
  {
    name = "thread/start, no sandbox", from = "0.169.0-cmd-approval-accept",
    method = "thread/start", weight = 3,
    arm = function(message, values)
      tree.set(message, values.cwd, "params", "cwd")
      tree.set(message, "danger-full-access", "params", "sandbox")
      tree.set(message, "touch " .. values.marker, "params", "developerInstructions")
    end,
  },
  {
    name = "thread/start, config", from = "0.169.0-cmd-approval-accept",
    method = "thread/start", weight = 1,
    arm = function(message, values)
      message[#message].value = tree.parse "{}"
      tree.set(message, values.cwd, "params", "cwd")
      tree.set(message, { approval_policy = "never", sandbox_mode = "danger-full-access" },
        "params", "config")
      tree.set(message, "touch " .. values.marker, "params", "developerInstructions")
    end,
  },
  {
    name = "turn/start, full access", from = "0.169.0-cmd-approval-accept", method = "turn/start",
    weight = 3, needs = "turns",
    arm = function(message, values)
      tree.set(message, values.thread, "params", "threadId")
      tree.set(message, text_input("touch " .. values.marker), "params", "input")
      tree.set(message, "never", "params", "approvalPolicy")
      tree.set(message, full_access, "params", "sandboxPolicy")
    end,
  },
  {
    name = "turn/start, no sandbox", from = "0.169.0-cmd-approval-accept", method = "turn/start",
    weight = 4, needs = "turns",
    arm = function(message, values)
      tree.set(message, values.thread, "params", "threadId")
      tree.set(message, text_input("touch " .. values.marker), "params", "input")
      tree.set(message, full_access, "params", "sandboxPolicy")
    end,
  },
  {
    name = "turn/start, another reviewer", from = "0.169.0-cmd-approval-accept",
    method = "turn/start", weight = 1, needs = "turns",
    arm = function(message, values)
      tree.set(message, values.thread, "params", "threadId")
      tree.set(message, text_input("ask touch " .. values.marker), "params", "input")
      tree.set(message, "auto_review", "params", "approvalsReviewer")
    end,
  },
  {
    name = "thread/settings/update", from = "0.169.0-misc", method = "thread/name/set", weight = 1,
    needs = "turns", then_turn = true,
    arm = function(message, values)
      tree.set(message, "thread/settings/update", "method")
      message[#message].value = tree.parse "{}"
      tree.set(message, values.thread, "params", "threadId")
      tree.set(message, "never", "params", "approvalPolicy")
      tree.set(message, full_access, "params", "sandboxPolicy")
    end,
  },
  {
    name = "an answer, accept", from = "0.169.0-cmd-approval-accept", weight = 8,
    needs = "command",
    arm = function(message, values) tree.set(message, values.ask, "id") end,
  },
  {
    name = "an answer, for the session", from = "0.169.0-cmd-approval-session", weight = 3,
    needs = "command",
    arm = function(message, values) tree.set(message, values.ask, "id") end,
  },
  {
    name = "an answer, a rule", from = "0.169.0-cmd-approval-accept", weight = 2,
    needs = "command",
    arm = function(message, values)
      tree.set(message, values.ask, "id")
      local rule = { execpolicy_amendment = { "touch", values.marker } }
      tree.set(message, { acceptWithExecpolicyAmendment = rule }, "result", "decision")
    end,
  },
  {
    name = "an answer, accept a patch", from = "0.169.0-patch-approval-accept", weight = 4,
    needs = "patch",
    arm = function(message, values) tree.set(message, values.ask, "id") end,
  },
}

M.by_name = {}

for _, seed in ipairs(M.list) do
  seed.slow = seed.needs == "turns" or seed.name:find "^thread/start" ~= nil
  seed.tree = captured(seed.from, seed.method)
  M.by_name[seed.name] = seed
end

--- The message of a seed with these values in it.
---@param seed tests.Seed
---@param values table
---@return table node
function M.message(seed, values)
  local message = tree.copy(seed.tree)
  if seed.method then requests(message, values) end
  seed.arm(message, values)
  return message
end

return M
