--- Ready-made policies: a fixed answer, commands that only read, a program that decides, a person
--- at the terminal. Reached as codex.policy.always and so on.

local approval = require "codex.approval"
local async = require "codex.async"
local json = require "codex.json"
local options = require "codex.options"
local policy = require "codex.policy"
local proc = require "codex.proc"

local M = {}

--- What every ready-made policy takes besides its own options.
local common = { "name", "on", "before", "after", "when", "timeout" }

local function known_with(names)
  return options.set(table.move(names, 1, #names, #common + 1, { table.unpack(common) }))
end

--- A policy with the common options of `given`.
local function build(given, defaults, decide)
  local made = { decide = decide }
  for _, name in ipairs(common) do
    made[name] = given[name]
    if made[name] == nil then made[name] = defaults[name] end
  end
  return policy(made)
end

--- Always the same answer.
---@param decision codex.DecisionWord|codex.Decision
---@param given? table name, on, before, after, when
---@return codex.Policy
function M.always(decision, given)
  given = options.check("codex.policy.always", given, known_with {})
  local word = type(decision) == "table" and decision.decision or decision
  if type(word) ~= "string" then options.raise "codex.policy.always: a decision is needed" end
  return build(given, { name = "always/" .. word }, function() return decision end)
end

-- ---- Reading -----------------------------------------------------------------------------------

local reading = { read = true, listFiles = true, search = true }

local function all_read(actions)
  for _, action in ipairs(actions) do
    if not reading[action.type] then return false end
  end
  return #actions > 0
end

--- Accepts commands that only read, and has no opinion on anything else.
---
--- All that Codex takes the command's parts for must be read, listFiles or search. That alone is
--- not enough, for Codex names the parts for people: 0.169.0 calls `rg -l x | xargs rm` a search
--- and `find . -delete` a listing. So the command must also be made of known readers without
--- expansion or redirection (codex.shell). Reading is not harmless: secrets that the user can read
--- are read as well.
---@param given? table name, on, before, after, when
---@return codex.Policy
function M.read_only(given)
  given = options.check("codex.policy.read_only", given, known_with {})
  return build(given, { name = "approve/read-only", on = "command" }, function(request)
    if request.kind ~= "command" or (request.command_kind or "command") ~= "command" then return end
    if request.network or request.additional_permissions then return end
    if not request.command or not all_read(request.actions or {}) then return end
    if require("codex.shell").only_reads(request.command) then return "accept" end
  end)
end

-- ---- A program ---------------------------------------------------------------------------------

local OUTPUT_LIMIT = 1024 * 1024

local function question(request)
  local fields = {}
  for name, value in pairs(request) do
    if name ~= "item" then fields[name] = value end
  end
  return json.encode(fields, { repair = true }) .. "\n"
end

--- What a program printed, its standard error and its status; raises an error for too much.
local function run(argv, given, input)
  local opts = { input = input, env = given.env, timeout = given.timeout or 30 }
  local p, err = proc.spawn(argv, opts)
  if not p then error(err, 0) end
  local guard <close> = p -- luacheck: ignore 211
  local pieces, size = {}, 0
  for piece in function() return p:read() end do
    pieces[#pieces + 1], size = piece, size + #piece
    if size > OUTPUT_LIMIT then error(argv[1] .. " printed too much", 0) end
  end
  local status = p:wait()
  return table.concat(pieces), (p:stderr():gsub("%s+$", "")), status
end

--- Raises what is wrong, with the end of what the program said about it.
local function blame(program, problem, stderr)
  local tail = stderr ~= "" and ": " .. stderr:sub(-500) or ""
  error(("%s %s%s"):format(program, problem, tail), 0)
end

--- A program that decides. It gets the request as one JSON object on standard input, with the names
--- of codex.ApprovalRequest (`item` is left out), and prints its decision:
---
---     {"decision": "accept"}
---     {"decision": "accept", "amendment": ["make", "test"]}
---
--- The words and the other fields are those of codex.Decision. Exit code 0 and no output: no
--- opinion. Another exit code, anything else on standard output, or more time than it has: the safe
--- answer, and the end of its standard error is in the log. It runs in our working directory with
--- our environment; name it by an absolute path, or have it in PATH.
---@param program string
---@param given? { timeout?: number, args?: string[], env?: table<string, string|false> } timeout in
---  seconds (30); also name, on, before, after, when
---@return codex.Policy
function M.external(program, given)
  local where = "codex.policy.external"
  given = options.check(where, given, known_with { "args", "env" })
  if type(program) ~= "string" then options.raise(where .. ": the program must be a string") end
  options.typed(where, given, "args", "table")
  options.typed(where, given, "env", "table")
  options.milliseconds(where, given, "timeout")
  local args = given.args or {}
  local argv = table.move(args, 1, #args, 2, { program })
  local defaults = { name = "external/" .. (program:match "[^/]+$" or program) }
  local plain = {} -- the time limit is the program's: it is ended by it, and can be named
  for name, value in pairs(given) do plain[name] = name ~= "timeout" and value or nil end
  return build(plain, defaults, function(request)
    local output, stderr, status = run(argv, given, question(request))
    local ended = proc.ended(status, program)
    if ended then blame(program, ended.message:sub(#program + 2), stderr) end
    if status.signal ~= 0 then blame(program, "was ended by signal " .. status.signal, stderr) end
    if status.code ~= 0 then blame(program, "exited with code " .. status.code, stderr) end
    if not output:find "%S" then return nil end
    local decision = json.decode(output)
    if type(decision) ~= "table" then blame(program, "did not print a decision", stderr) end
    return decision
  end)
end

-- ---- A person ----------------------------------------------------------------------------------

local one_at_a_time = async.limit(1)

local function offers_session(request)
  if request.kind == "elicitation" then
    for _, word in ipairs(request.persist or {}) do
      if word == "session" then return true end
    end
    return false
  end
  return request.kind ~= "user_input"
end

--- The word; Ctrl-D declines.
local function ask_word(tty, request)
  local keys = { a = "accept", d = "decline", c = "cancel", accept = "accept",
    decline = "decline", cancel = "cancel" }
  local prompt = "[a]ccept, [d]ecline, [c]ancel? "
  if offers_session(request) then
    keys.s, keys.session = "accept_for_session", "accept_for_session"
    prompt = "[a]ccept, accept for the [s]ession, [d]ecline, [c]ancel? "
  end
  return tty:ask(prompt, function(text)
    return keys[text:lower()], "Type one of the letters in brackets."
  end) or "decline"
end

--- Shows a numbered list and returns what makes a choice of a text.
local function show_choices(tty, labels)
  for i, label in ipairs(labels) do
    tty:write(approval.visible(("  %d %s\n"):format(i, (label:gsub("\n", " ")))))
  end
  return function(text) return math.tointeger(tonumber(text)) end
end

--- One question of the model: the answer, "" for none, nil for Ctrl-D.
local function ask_question(tty, one)
  tty:write(approval.visible(("\n%s: %s\n"):format(tostring(one.header), tostring(one.question))))
  local choices = type(one.options) == "table" and one.options or {}
  local labels = {}
  for i, option in ipairs(choices) do
    labels[i] = ("%s: %s"):format(tostring(option.label), tostring(option.description))
  end
  local number = show_choices(tty, labels)
  local free = one.isOther == true or #choices == 0
  local prompt = #choices == 0 and "answer" or free and "number, or your own words" or "number"
  local hidden <close> = one.isSecret == true and tty:hidden() or nil -- luacheck: ignore 211
  return tty:ask(prompt .. " (nothing to skip)> ", function(text)
    if text == "" then return "" end
    local choice = choices[number(text)]
    if choice then return choice.label end
    return free and text or nil, "Type a number of the list."
  end)
end

local function answer_questions(tty, request)
  local answers = {}
  for _, one in ipairs(request.questions) do
    local text = ask_question(tty, one)
    if not text then return "decline" end
    if text ~= "" then answers[one.id] = text end
  end
  if next(answers) == nil then return "decline" end
  return { decision = "accept", answers = answers }
end

-- Forms: each property of the schema by its type. A parser returns the value, or nil and a hint.

local function table_of(value) return type(value) == "table" and value or nil end
local function given_of(value) if value ~= json.null then return value end end

--- The values of an enum and how each is shown.
local function enum_of(property)
  local values, labels = {}, {}
  local names = table_of(property.enumNames) or {}
  for i, value in ipairs(table_of(property.enum) or {}) do
    values[i], labels[i] = value, tostring(names[i] or value)
  end
  for i, one in ipairs(table_of(property.oneOf) or table_of(property.anyOf) or {}) do
    values[i], labels[i] = one.const, tostring(one.title or one.const)
  end
  return #values > 0 and values or nil, labels
end

local function within(value, low, high)
  return (not given_of(low) or value >= low) and (not given_of(high) or value <= high)
end

local parsers = {}

function parsers.string(property)
  return "text", function(text)
    local length = utf8.len(text)
    local fits = length and within(length, property.minLength, property.maxLength)
    return fits and text or nil, "The text has a wrong length."
  end
end

function parsers.number(property)
  return property.type, function(text)
    local value = tonumber(text)
    if value and property.type == "integer" then value = math.tointeger(value) end
    local fits = value and value == value and math.abs(value) ~= math.huge
      and within(value, property.minimum, property.maximum)
    return fits and value or nil, "Type a number in the range that is asked for."
  end
end

parsers.integer = parsers.number

function parsers.boolean()
  local words = { y = true, yes = true, ["true"] = true, n = false, no = false, ["false"] = false }
  return "yes or no", function(text) return words[text:lower()], "Type yes or no." end
end

local function choice(tty, values, labels)
  local number = show_choices(tty, labels)
  return "number", function(text) return values[number(text)], "Type a number of the list." end
end

local function several(tty, values, labels)
  local number = show_choices(tty, labels)
  return "numbers, with commas", function(text)
    local list = json.array {}
    for word in text:gmatch "[^,%s]+" do
      local value = values[number(word)]
      if value == nil then return nil, "Type numbers of the list." end
      list[#list + 1] = value
    end
    return list
  end
end

--- What to ask for, and the parser; nil for a type that cannot be typed in.
local function parser_of(tty, property)
  if property.type == "array" then
    local values, labels = enum_of(table_of(property.items) or {})
    if values then return several(tty, values, labels) end
    return nil
  end
  local values, labels = enum_of(property)
  if values then return choice(tty, values, labels) end
  local parser = parsers[property.type]
  if parser then return parser(property) end
end

local SKIP = {}

local function ask_property(tty, name, property, required)
  local title = given_of(property.title) or name
  tty:write(approval.visible(("\n%s%s\n"):format(title, required and " (required)" or "")))
  if given_of(property.description) then
    tty:write(approval.visible("  " .. property.description .. "\n"))
  end
  local what, parse = parser_of(tty, property)
  if not what then return not required and SKIP or nil end
  local default = given_of(property.default)
  local hint = default ~= nil and (" (nothing for %s)"):format(json.encode(default))
    or not required and " (nothing to skip)" or ""
  return tty:ask(what .. hint .. "> ", function(text)
    if text ~= "" then return parse(text) end
    if default ~= nil then return default end
    if not required then return SKIP end
    return nil, "An answer is needed."
  end)
end

local function fill_form(tty, word, schema)
  local required = options.set(table_of(schema.required) or {})
  local names, content = {}, json.object {}
  for name in pairs(table_of(schema.properties) or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local property = table_of(schema.properties[name]) or {}
    local value = ask_property(tty, name, property, required[name])
    if value == nil then return "decline" end
    if value ~= SKIP then content[name] = value end
  end
  return { decision = word, content = content }
end

local function ask_person(tty, request)
  tty:write("\n" .. approval.describe(request) .. "\n")
  if request.kind == "user_input" then return answer_questions(tty, request) end
  local word = ask_word(tty, request)
  local accepted = word == "accept" or word == "accept_for_session"
  if accepted and request.schema then return fill_form(tty, word, request.schema) end
  return word
end

--- Asks the person at the terminal (/dev/tty), one question at a time, for as long as the
--- decider's time lasts. Questions and forms are asked one by one. Where there is no terminal, or
--- this program is in the background there, it has no opinion. Ctrl-D declines.
---@param given? table path (of the terminal), name, on, before, after, when, timeout
---@return codex.Policy
function M.ask_terminal(given)
  local where = "codex.policy.ask_terminal"
  given = options.check(where, given, known_with { "path" })
  options.typed(where, given, "path", "string")
  local defaults = { name = "ask/terminal",
    on = { "command", "file_change", "permissions", "user_input", "elicitation" } }
  return build(given, defaults, function(request)
    local place <close> = one_at_a_time:acquire() -- luacheck: ignore 211
    local tty <close> = require("codex.terminal").open(given.path)
    if not tty then return nil end
    tty:forget()
    local answered = false
    local farewell <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() if not answered then tty:write "\n(no longer asked)\n" end end,
    })
    local decision = ask_person(tty, request)
    answered = true
    return decision
  end)
end

return M
