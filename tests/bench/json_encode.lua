--- Lua values to JSON: against lua-cjson, which neither sorts names nor looks at what is no UTF-8,
--- and writes 14 digits of a number.

local kit = require "tests.bench.lib.json"

local documents, libraries = kit.documents(), nil
local ours, cjson = "codex.json", "lua-cjson"

--- Each writes what it has read.
local function side(name)
  return kit.side(name, function()
    local values = {}
    for kind, list in pairs(documents) do
      values[kind] = {}
      for i, document in ipairs(list) do values[kind][i] = libraries[name].decode(document) end
    end
    return libraries[name].encode, values
  end)
end

return {
  name = "json_encode",
  about = "Writing messages, long texts and figures, in one process.",
  prepare = function() libraries = kit.libraries() end,
  sides = { side(ours), side(cjson) },
  limits = { { metric = "wall", of = ours, against = cjson, at_most = 1 } },
}
