--- A terminal for programs that need one: tmux, with a server of its own that ends with the test.

local async = require "codex.async"
local peers = require "tests.support.peers"
local proc = require "codex.proc"

local M = {}

local Terminal = {}
Terminal.__index = Terminal

function Terminal:_run(...)
  local argv = { "tmux", "-S", self.socket, "-N", "-f", "/dev/null", ... }
  return assert(proc.run(argv, { env = self.env, timeout = 10 }))
end

--- What is on the screen now.
---@async
---@return string
function Terminal:screen() return self:_run("capture-pane", "-p", "-t", "test").stdout end

--- Types a line. What comes too fast is taken for something pasted, Enter too.
---@async
function Terminal:enter(text)
  self:_run("send-keys", "-t", "test", "-l", text)
  async.sleep(0.5)
  self:press "Enter"
end

--- Presses keys by their tmux names ("Enter", "Escape", "C-c").
---@async
function Terminal:press(...) self:_run("send-keys", "-t", "test", ...) end

--- Waits until the screen shows this, at most so many seconds (20); raises an error with the screen
--- otherwise. Meanwhile `answers`, text on the screen = key, are given once each.
---@async
---@return string screen
function Terminal:wait_for(text, answers, seconds)
  local screen, given = "", {}
  for _ = 1, (seconds or 20) * 10 do
    screen = self:screen()
    if screen:find(text, 1, true) then return screen end
    for question, key in pairs(answers or {}) do
      if not given[question] and screen:find(question, 1, true) then
        given[question] = true
        self:press(key)
      end
    end
    async.sleep(0.1)
  end
  error(("the screen does not show '%s':\n%s"):format(text, screen), 0)
end

--- Ends the program and the terminal.
function Terminal:close() self.server:close() end

Terminal.__close = Terminal.close

--- Runs a program on a terminal of 100 columns and 40 lines, which stays when it has ended.
---@async
---@param argv string[]
---@param opts { socket: string, cwd?: string, env?: table<string, string|false> }
function M.open(argv, opts)
  local env = { TERM = "xterm-256color" }
  for name, value in pairs(opts.env or {}) do env[name] = value end
  local words = {}
  for i, word in ipairs(argv) do words[i] = peers.quote(word) end
  local server = assert(proc.spawn({ "tmux", "-S", opts.socket, "-f", "/dev/null", "-D" },
    { env = env, stdout = "null" }))
  local terminal = setmetatable({ server = server, socket = opts.socket, env = env }, Terminal)
  local command = table.concat(words, " ") .. "; echo CODE $?; exec sleep 60"
  for _ = 1, 50 do
    local made = terminal:_run("new-session", "-d", "-s", "test", "-x", "100", "-y", "40",
      "-c", opts.cwd or "/", command)
    if made.code == 0 then return terminal end
    async.sleep(0.1)
  end
  terminal:close()
  error("tmux does not start: " .. server:stderr(), 0)
end

return M
