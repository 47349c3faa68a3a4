--- Secrets that are made up.

local M = {}

local letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

--- So many of these letters, with at least one digit that is not the first.
---@param n integer
---@param alphabet? string all letters and digits
function M.random(n, alphabet)
  alphabet = alphabet or letters
  local list = {}
  for i = 1, n do
    local at = math.random(#alphabet)
    list[i] = alphabet:sub(at, at)
  end
  list[math.random(2, n)] = tostring(math.random(0, 9))
  return table.concat(list)
end

return M
