--- UUIDs: what Codex's ids of threads are, and since 0.81 those of turns.

local M = {}

--- A pattern that finds one anywhere in a text.
M.pattern = "%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x"

--- Whether a text is one, as Codex decides it: of any version.
---@param text string
---@return boolean
function M.is(text) return #text == 36 and text:find(M.pattern) ~= nil end

return M
