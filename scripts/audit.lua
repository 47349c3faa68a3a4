--- audit: what Codex asked and who decided what
---
--- Exit codes: 0 the log was read, or there is none yet; 1 it cannot be read; 2 wrong usage.

local approval = require "codex.approval"
local audit = require "codex.audit"
local cli = require "codex.cli"
local json = require "codex.json"

local PIECE = 4000 -- bytes of what one member of a record shows; ours are shorter

-- ---- Arguments ---------------------------------------------------------------------------------

local function positive(text)
  local number = math.tointeger(tonumber(text))
  if number and number > 0 then return number end
  return nil, ("'%s' is not a positive whole number"):format(text)
end

local units = { s = 1, m = 60, h = 3600, d = 86400, w = 604800 }

--- The beginning of what is wanted, in the form in which the log has times. A date is in UTC.
local function since(text)
  local number, unit = text:match "^(%d+)([smhdw])$"
  if number then return (os.date("!%Y-%m-%dT%H:%M:%S", os.time() - number * units[unit])) end
  local date, rest = text:match "^(%d%d%d%d%-%d%d%-%d%d)(.*)$"
  if date and rest == "" then return date end
  local clock = rest and rest:match "^[T ](%d%d:%d%d[:%d]*)Z?$"
  if clock then return date .. "T" .. clock end
  return nil, ("'%s' is no duration (90s, 30m, 2h, 7d, 1w) and no date (2026-11-20)"):format(text)
end

local function parse_arguments()
  local parser = cli.parser("audit", "What Codex asked, and who decided what.")
  parser:flag("--json", "the records as they are, one JSON object a line")
  parser:option("--last", "only so many, the newest"):convert(positive):argname "N"
  parser:option("--thread", "only those of this thread"):argname "ID"
  parser:option("--decision", "only these")
    :choices { "accept", "accept_for_session", "decline", "cancel", "error" }
  parser:option("--since", "only newer ones: 90s, 30m, 2h, 7d, 1w, or a date in UTC")
    :convert(since):argname "WHEN"
  parser:option("--file", "a log in another place"):argname "PATH"
  return parser:parse()
end

-- ---- Records -----------------------------------------------------------------------------------

--- Logs from before there was one vocabulary have the words of whoever decided.
local function word_of(record) return approval.word(record.decision) or record.decision end

local function is_wanted(record, args)
  return (not args.thread or record.thread_id == args.thread)
    and (not args.decision or word_of(record) == args.decision)
    and (not args.since or tostring(record.time) >= args.since)
end

--- Calls `show` for the wanted records: as they come, or for the last ones at the end.
local function each(args, show)
  local records, err, _, file = audit.read(args.file)
  if not records then return nil, err end
  local kept, count = {}, 0
  for record in records, nil, nil, file do
    if is_wanted(record, args) then
      count = count + 1
      kept[count] = record
      kept[count - (args.last or 0)] = nil
      if not args.last then show(record) end
    end
  end
  if args.last then
    for i = math.max(1, count - args.last + 1), count do show(kept[i]) end
  end
  return true
end

local function show_json(record) print(audit.line(record)) end

--- A log is a file that others may have written: whatever stands there becomes a piece of a line.
local function piece(value)
  local text = type(value) == "table" and json.encode(value) or tostring(value)
  if #text > PIECE then text = text:sub(1, PIECE) .. "..." end
  return (approval.visible(text):gsub("%s*[\n\t]%s*", " "))
end

local function show_text(record)
  local who = piece(record.policy)
  if record.client ~= nil then who = ("%s %s"):format(who, piece(record.client)) end
  if record.why ~= nil then who = ("%s (%s)"):format(who, piece(record.why)) end
  if record.grant ~= nil then who = ("%s, grants %s"):format(who, piece(record.grant)) end
  print(("%s  %-18s %s  %s"):format(piece(record.time), piece(word_of(record)), who,
    piece(record.summary)))
end

local args = parse_arguments()
local ok, err = each(args, args.json and show_json or show_text)
if not ok and err.code == "ENOENT" and not args.file then
  io.stderr:write "audit: nothing was decided yet\n"
elseif not ok then
  io.stderr:write("audit: ", err.message, "\n")
  os.exit(1)
end
