--- Whether a shell command only reads, as far as can be said without running it. What is not
--- understood is not reading: expansions, redirections, programs that are not in the table below.

local M = {}

-- ---- Words -------------------------------------------------------------------------------------

--- The next piece of a word: its text and where it ends; nil where it could mean anything.
local function piece(script, at)
  local first = script:sub(at, at)
  if first == "'" then
    local stop = script:find("'", at + 1, true)
    if stop then return script:sub(at + 1, stop - 1), stop + 1 end
  elseif first == '"' then
    local text = script:match('^"([^"$`\\!]*)"', at)
    if text then return text, at + #text + 2 end
  else
    local text = script:match("^[%w_@%%+=:,./~^-]+", at)
    if text then return text, at + #text end
  end
end

local function separator(script, at)
  for _, mark in ipairs { "&&", "||", ";", "|", "\n" } do
    if script:sub(at, at + #mark - 1) == mark then return at + #mark end
  end
end

--- A script as a list of simple commands, each a list of words; nil when there is more to it.
---@param script string
---@return string[][]?
function M.commands(script)
  local list, words, word, at = {}, {}, nil, 1
  while at <= #script do
    local next_at = separator(script, at)
    if next_at or script:find("^[ \t]", at) then
      words[#words + 1], word = word, nil
      if next_at then list[#list + 1], words = words, {} end
      at = next_at or at + 1
    else
      local text, stop = piece(script, at)
      if not text then return nil end
      word, at = (word or "") .. text, stop
    end
  end
  words[#words + 1] = word
  list[#list + 1] = words
  return list
end

--- By bare name or from the system's folders: any other ./bash may be anything.
local shells = {}
for _, folder in ipairs { "", "/bin/", "/usr/bin/", "/usr/local/bin/" } do
  for _, name in ipairs { "bash", "sh", "zsh", "dash" } do shells[folder .. name] = true end
end

--- The script that Codex has a shell run, or the command itself.
---@param command string
---@return string?
function M.script(command)
  local commands = M.commands(command)
  local words = commands and #commands == 1 and commands[1]
  if words and #words == 3 and shells[words[1]] and words[2]:find "^%-l?c$" then
    return words[3]
  end
  return command
end

-- ---- Programs ----------------------------------------------------------------------------------

local function without(...)
  local prefixes = { ... }
  return function(words)
    for i = 2, #words do
      for _, prefix in ipairs(prefixes) do
        if words[i]:sub(1, #prefix) == prefix then return false end
      end
    end
    return true
  end
end

local function always() return true end

--- Programs that write nothing and run nothing, given these arguments.
local readers = {
  cat = always, cd = always, cut = always, du = always, egrep = always, fgrep = always,
  grep = always, head = always, ls = always, nl = always, pwd = always, stat = always,
  tail = always, tr = always, wc = always,
  find = without("-exec", "-ok", "-delete", "-fls", "-fprint"),
  rg = without("--pre", "--hostname-bin", "--search-zip", "-z"),
  sed = function(words) -- sed -n 10,20p FILE; anything more is a language that can write
    if words[2] ~= "-n" or not (words[3] or ""):find "^%d+,?%d*p$" then return false end
    for i = 4, #words do
      if words[i]:find "^%-" then return false end
    end
    return true
  end,
}

--- Short options of rg may stand together, as in -lz.
local rg = readers.rg
function readers.rg(words)
  for i = 2, #words do
    if words[i]:find "^%-%w*z" then return false end
  end
  return rg(words)
end

---@param command string as Codex asks for it, mostly "/bin/bash -lc '...'"
---@return boolean
function M.only_reads(command)
  local commands = M.commands(M.script(command))
  if not commands then return false end
  for _, words in ipairs(commands) do
    local check = readers[words[1]]
    if not check or not check(words) then return false end
  end
  return true
end

return M
