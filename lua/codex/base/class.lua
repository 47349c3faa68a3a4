--- Classes whose methods cannot be replaced through their objects.

local M = {}

--- What the `__index` of a class shall be. With `Class.__index = Class` every object would lead to
--- the class itself by `object.__index`, and whoever has one object could change them all.
---@param class table
---@return table
function M.methods(class) return setmetatable({ __index = false }, { __index = class }) end

return M
