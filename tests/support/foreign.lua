--- Runs programs of others that drive `codex app-server`, on whatever program a spec names in place
--- of Codex: codex-acp from npm, and a program that behaves as the official Python SDK does.

local files = require "codex.files"
local json = require "codex.json"
local peers = require "tests.support.peers"
local proc = require "codex.proc"
local program = require "tests.support.program"

local foreign = {}

local scripts = peers.root .. "/tests/peers/"
local deadline = 45 -- seconds; the clients have their own, which says more when it is reached

---@class tests.foreign.Events a list of what the client wrote, each a table with `event`
---@field code integer its exit status
---@field stderr string

-- What was written, line by line. A line that is not JSON is a mistake of the client.
local function events_of(result)
  local list = { code = result.code, stderr = result.stderr }
  for line in result.stdout:gmatch "[^\n]+" do
    local event, err = json.decode(line)
    if type(event) ~= "table" then error(("%s\n%s"):format(err, line), 0) end
    list[#list + 1] = event
  end
  return list
end

local function run(argv, cx, binary, prompt)
  for _, word in ipairs { "--timeout", tostring(deadline), "--", binary, prompt } do
    argv[#argv + 1] = word
  end
  local env = assert(cx.environment())
  return events_of(assert(proc.run(argv, { env = env, timeout = deadline + 15 })))
end

--- One prompt through codex-acp, by an ACP client. Events: initialized, session, mode, update (with
--- `kind`, the kind of the update), permission, stop, refused, exit, error.
---@async
---@param binary string what codex-acp starts as `BINARY app-server`
---@param cx table an instance from codex.testing.codex, for its environment
---@param prompt string
---@param how? { answer?: string, mode?: string, cwd?: string } see tests/peers/acp_client.mjs
---@return tests.foreign.Events
function foreign.acp(binary, cx, prompt, how)
  how = how or {}
  local argv = { "node", scripts .. "acp_client.mjs", "--cwd", how.cwd or cx.home }
  for _, name in ipairs { "answer", "mode" } do
    if how[name] then table.move({ "--" .. name, how[name] }, 1, 2, #argv + 1, argv) end
  end
  return run(argv, cx, binary, prompt)
end

--- One turn as the Python SDK runs it. Events: response, initialized, thread, turn, notification,
--- request (from the server, with the `answer`), unmatched, result, error (with `kind`), closed.
---@async
---@param binary string started as `BINARY [--config KEY=VALUE]... app-server --listen stdio://`
---@param cx table an instance from codex.testing.codex, for its environment
---@param prompt string
---@param how? { thread?: table, config?: string[], cwd?: string } see tests/peers/sdk_client.py
---@return tests.foreign.Events
function foreign.sdk(binary, cx, prompt, how)
  how = how or {}
  local argv = { "python3", scripts .. "sdk_client.py", "--cwd", how.cwd or cx.home }
  if how.thread then
    table.move({ "--thread", json.encode(how.thread) }, 1, 2, #argv + 1, argv)
  end
  for _, pair in ipairs(how.config or {}) do
    table.move({ "--config", pair }, 1, 2, #argv + 1, argv)
  end
  return run(argv, cx, binary, prompt)
end

--- Those events whose fields have these values, in order.
---@param events tests.foreign.Events
---@param fields table<string, any>
---@return table[]
function foreign.select(events, fields)
  local list = {}
  for _, event in ipairs(events) do
    local matches = true
    for name, value in pairs(fields) do matches = matches and event[name] == value end
    if matches then list[#list + 1] = event end
  end
  return list
end

--- A shell script that stands in for Codex: `exec ARGV... "$@"`, after the lines of `before`.
---@param path string where; its folder is made
---@param argv string[]
---@param before? string shell code
---@return string path
function foreign.wrapper(path, argv, before)
  assert(files.make_dir((path:match "^(.*)/")))
  local words = {}
  for i, word in ipairs(argv) do words[i] = peers.quote(word) end
  program.write(path, ('#!/bin/sh\n%sexec %s "$@"\n'):format(
    before and before .. "\n" or "", table.concat(words, " ")), 493)
  return path
end

return foreign
