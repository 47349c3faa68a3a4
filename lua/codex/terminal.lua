--- The terminal of the person at this program: /dev/tty, for standard input and output may belong
--- to a protocol. Reading waits as a task does; the loop goes on.

local approval = require "codex.approval"
local async = require "codex.async"
local uv = require "luv"

local M = {}

---@class codex.Terminal
---@field path string
local Terminal = {}
Terminal.__index = require("codex.base.class").methods(Terminal)
Terminal.__name = "codex.terminal"

--- Whether reading from our terminal would stop us, as it stops a job in the background.
local function in_background()
  local file = io.open "/proc/self/stat"
  if not file then return false end
  local stat <close> = file
  local group, foreground = stat:read("a"):match "%) %a %d+ (%-?%d+) %-?%d+ %-?%d+ (%-?%d+)"
  return group ~= foreground
end

--- Opens the terminal; nil when there is none, or it is somebody else's turn.
---@param path? string /dev/tty by default
---@return codex.Terminal?
function M.open(path)
  path = path or "/dev/tty"
  local flags = uv.constants.O_RDWR | uv.constants.O_NONBLOCK | uv.constants.O_NOCTTY
  local fd = uv.fs_open(path, flags, 0)
  if not fd then return nil end
  if uv.guess_handle(fd) ~= "tty" or (path == "/dev/tty" and in_background()) then
    uv.fs_close(fd)
    return nil
  end
  return setmetatable({ path = path, _fd = fd, _buffer = "" }, Terminal)
end

function Terminal:close()
  if self._fd then uv.fs_close(self._fd) end
  self._fd = nil
end

Terminal.__close = Terminal.close

--- Waits until the terminal can be read ("r") or written ("w").
function Terminal:_wait(what)
  async.await(function(resume)
    local poll = uv.new_poll(self._fd)
    local function close()
      if not poll:is_closing() then poll:close() end
    end
    poll:start(what, function()
      close()
      resume()
    end)
    return { close = close }
  end)
end

--- Writes a text as it is: make it visible first (codex.approval.visible).
---@async
function Terminal:write(text)
  while #text > 0 do
    local n, _, name = uv.fs_write(self._fd, text, -1)
    if n then
      text = text:sub(n + 1)
    elseif name == "EAGAIN" then
      self:_wait "w"
    else
      return
    end
  end
end

--- Forgets what was typed before there was anything to answer.
function Terminal:forget()
  self._buffer = ""
  repeat
    local piece = uv.fs_read(self._fd, 4096, -1)
  until not piece or piece == ""
end

--- The next line without its newline; nil for Ctrl-D, or when the terminal is gone.
---@async
---@return string?
function Terminal:line()
  while true do
    local line, rest = self._buffer:match "^([^\n]*)\n(.*)$"
    if line then
      self._buffer = rest
      return line
    end
    local piece, _, name = uv.fs_read(self._fd, 4096, -1)
    if piece and piece ~= "" then
      self._buffer = self._buffer .. piece
    elseif name == "EAGAIN" then
      self:_wait "r"
    else
      return nil
    end
  end
end

--- Asks until `parse` makes something of the answer; nil for Ctrl-D.
---@async
---@param prompt string
---@param parse fun(text: string): any nil and words that say what was expected
---@return any
function Terminal:ask(prompt, parse)
  while true do
    self:write(approval.visible(prompt))
    local text = self:line()
    if not text then return nil end
    local value, hint = parse((text:gsub("^%s+", ""):gsub("%s+$", "")))
    if value ~= nil then return value end
    self:write("  " .. approval.visible(hint) .. "\n")
  end
end

--- While this is open, what is typed is not shown.
---@async
---@return { close: fun(self: table) }
function Terminal:hidden()
  local proc = require "codex.proc"
  local function echo(word)
    proc.run({ "stty", "-F", self.path, word }, { same_group = true, timeout = 5 })
  end
  echo "-echo"
  local function close()
    echo "echo"
    self:write "\n"
  end
  return setmetatable({ close = close }, { __close = close })
end

return M
