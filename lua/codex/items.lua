--- Items under way, by thread: the question about a file change names only an item's id, and a
--- person wants to see the diff.

local M = {}

---@class codex.Items
local Items = {}
Items.__index = require("codex.base.class").methods(Items)

local function is_text(value) return type(value) == "string" end

local notes = {}

notes["item/started"] = function(items, params)
  if type(params.item) ~= "table" or not is_text(params.threadId) then return end
  local of_thread = items._threads[params.threadId] or {}
  items._threads[params.threadId] = of_thread
  of_thread[params.item.id or ""] = params.item
end

notes["item/completed"] = function(items, params)
  local of_thread = items._threads[params.threadId or ""]
  if of_thread and type(params.item) == "table" then of_thread[params.item.id or ""] = nil end
end

notes["item/fileChange/patchUpdated"] = function(items, params)
  local item = items:find(params)
  if item then item.changes = params.changes end
end

notes["turn/completed"] = function(items, params) items._threads[params.threadId or ""] = nil end

--- Whether a notification of this method tells of items.
---@param method string
---@return boolean
function M.concerns(method) return notes[method] ~= nil end

--- Notes what a notification tells.
---@param method string
---@param params table
function Items:note(method, params)
  local note = notes[method]
  if note then note(self, params) end
end

--- The item that a request is about.
---@param params table with threadId and itemId
---@return table?
function Items:find(params)
  return (self._threads[params.threadId or ""] or {})[params.itemId or ""]
end

---@return codex.Items
function M.new() return setmetatable({ _threads = {} }, Items) end

return M
