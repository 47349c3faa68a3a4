--- JSON to Lua values: against cJSON with a walk through its tree, and against lua-cjson.

local kit = require "tests.bench.lib.json"

local documents, libraries = kit.documents(), nil
local ours, tree, cjson = "codex.json", "cJSON", "lua-cjson"

local function side(name)
  return kit.side(name, function() return libraries[name].decode, documents end)
end

return {
  name = "json_decode",
  about = "Reading messages, long texts and figures into Lua, in one process.",
  prepare = function() libraries = kit.libraries() end,
  sides = { side(ours), side(tree), side(cjson) },
  limits = {
    { metric = "wall", of = ours, against = tree, at_most = 1 },
    { metric = "wall", of = ours, against = cjson, at_most = 1 },
  },
}
