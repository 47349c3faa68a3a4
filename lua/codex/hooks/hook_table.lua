--- Lifecycle hooks as the user's layer of Codex's configuration has them: what is there, and which
--- edits add one or take one out. Codex is not asked.
---
--- `hooks` has a list of groups for each event, each with a matcher and handlers, and in `state`
--- what is known of each handler by its place: whether it is trusted, or disabled.

local json = require "codex.json"

local M = {}

--- "PreToolUse" and "preToolUse" are "pre_tool_use" here.
---@param name string
---@return string
function M.snake(name)
  return (name:gsub("^%u", string.lower):gsub("%u", function(c) return "_" .. c:lower() end))
end

--- As config.toml has it.
local function pascal(name)
  return (("_" .. M.snake(name)):gsub("_(%w)", string.upper))
end

local function present(value)
  if value ~= json.null then return value end
end

--- What a hook is called in a record.
---@param event string
---@param matcher? string
---@param command string
---@return string
function M.name(event, matcher, command)
  return ("hook:%s:%s:%s"):format(event, matcher or "", command)
end

--- Calls with the event of each handler in the layer, its group, itself, and their places from 0.
---@param layer table
---@param fn fun(event: string, group: table, handler: table, group_index: integer, index: integer)
function M.each(layer, fn)
  for name, groups in pairs(layer.config.hooks or {}) do
    for g, group in ipairs(name ~= "state" and groups or {}) do
      for i, handler in ipairs(group.hooks or {}) do
        fn(M.snake(name), group, handler, g - 1, i - 1)
      end
    end
  end
end

--- The names of those in the layer that run a command, and the commands.
---@param layer table
---@return table<string, string>
function M.names(layer)
  local names = {}
  M.each(layer, function(event, group, handler)
    if present(handler.command) then
      names[M.name(event, present(group.matcher), handler.command)] = handler.command
    end
  end)
  return names
end

---@alias codex.ConfigEdit { [1]: string, [2]: any, [3]: string? } path, value (json.null takes one
---out), and how it is merged

--- The edits that add a hook after those that are there.
---@param layer table
---@param event string
---@param given { matcher?: string, command: string, timeout?: integer, async?: boolean }
---@return codex.ConfigEdit[]
function M.addition(layer, event, given)
  local there = (layer.config.hooks or {})[pascal(event)] or {}
  local groups = table.move(there, 1, #there, 1, json.array {})
  groups[#groups + 1] = { matcher = given.matcher, hooks = { { type = "command",
    command = given.command, timeout = given.timeout, async = given.async } } }
  return { { "hooks." .. pascal(event), groups } }
end

local function place_of(group, index) return ("%d:%d"):format(group, index) end

--- A group with other handlers.
local function with(group, handlers)
  local copy = {}
  for key, value in pairs(group) do copy[key] = value end
  copy.hooks = group.hooks and handlers
  return copy
end

--- The groups without this command, and for each place the one that its handler has then; false
--- where it goes.
local function without(groups, hook)
  local rest, moves = json.array {}, {}
  for g, group in ipairs(groups) do
    local handlers, left = group.hooks or {}, json.array {}
    for i, handler in ipairs(handlers) do
      local is_it = handler.command == hook.command and present(group.matcher) == hook.matcher
      if not is_it then left[#left + 1] = handler end
      moves[place_of(g - 1, i - 1)] = not is_it and place_of(#rest, #left - 1)
    end
    if #left > 0 or #handlers == 0 then rest[#rest + 1] = with(group, left) end
  end
  return rest, moves
end

--- Trust is written down by place: it follows the hooks that move up when one before them goes.
--- The states then, and whether they are others.
local function moved_states(states, prefix, moves)
  local rest, is_other = json.object {}, false
  for key, state in pairs(states) do
    local place = key:sub(1, #prefix) == prefix and key:sub(#prefix + 1)
    local new = moves[place]
    if new == nil then new = place end
    if new ~= false or not place then rest[place and prefix .. new or key] = state end
    is_other = is_other or new ~= place
  end
  return rest, is_other
end

--- The edits that take a hook out; no table is left that was made for us alone.
---@param layer table
---@param path string of the file, as Codex's keys have it
---@param hook { event: string, matcher?: string, command: string }
---@return codex.ConfigEdit[]
function M.removal(layer, path, hook)
  local hooks, event = layer.config.hooks or {}, pascal(hook.event)
  local rest, moves = without(hooks[event] or {}, hook)
  local states, is_other = moved_states(hooks.state or {}, ("%s:%s:"):format(path, hook.event),
    moves)
  local is_alone = #rest == 0 and next(states) == nil
  for name in pairs(hooks) do is_alone = is_alone and (name == "state" or name == event) end
  if is_alone then return { { "hooks", json.null } } end
  local edits = { { "hooks." .. event, #rest > 0 and rest or json.null } }
  if is_other then edits[2] = { "hooks.state", next(states) and states or json.null } end
  return edits
end

return M
