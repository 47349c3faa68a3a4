--- Which seeds a version of Codex lacks the method for.

local function set(list)
  local names = {}
  for _, name in ipairs(list) do names[name] = true end
  return names
end

return {
  lacks = {
    latest = {}, middle = {},
    old = set { "process/spawn", "fs/writeFile", "fs/copy", "thread/shellCommand",
      "turn/start, another reviewer", "thread/settings/update" },
  },
}
