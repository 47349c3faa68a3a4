--- JSON that survives a round trip: null, empty arrays and objects, 64-bit and larger integers,
--- duplicate keys, NUL and lone surrogates in strings.

local core = require "codex.core.json"

---@class codex.JsonOptions
---@field pretty? boolean
---@field unicode? boolean
---@field repair? boolean

return {
  --- Reads one JSON text as RFC 8259 has it, in UTF-8. Null becomes `json.null`, arrays carry a
  --- mark so that an empty one stays an array. Of duplicate keys the first counts; the later ones
  --- are in `json.duplicates(object)`. Integers beyond 64 bits keep their text; what is beyond
  --- a double is infinite, which cannot be written.
  --- Nesting is limited to 1000 levels, and there may be a million values (1 << 20) unless
  --- `max_values` allows more: "[[],[],...]" takes thirty times its bytes in memory. Where it is
  --- not read: nil, what is wrong and at which byte, and EJSON, EDEPTH or ETOOMANY.
  ---@type fun(text: string, options?: { max_values?: integer }): any, string?, string?
  decode = core.decode,
  --- Writes a value with its keys sorted. Raises an error for what JSON cannot say: functions, NaN,
  --- mixed tables, strings that are not UTF-8. `repair = true` replaces all that is no Unicode by
  --- U+FFFD; `unicode = true` does so with lone surrogates only, which Codex refuses. A plain empty
  --- table is an object.
  ---@type fun(value: any, options?: codex.JsonOptions): string
  encode = core.encode,
  null = core.null,
  --- Marks a table (a new one by default) as an array.
  ---@type fun(t?: table): table
  array = core.array,
  --- Marks a table (a new one by default) as an object.
  ---@type fun(t?: table): table
  object = core.object,
  --- The pairs `{ key, value }` of a decoded object that came after the first of their key, or nil.
  ---@type fun(object: table): table[]?
  duplicates = core.duplicates,
}
