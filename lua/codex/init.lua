--- require "codex": a facade that loads a part when it is first used.

local parts = {
  all = "async", await = "async", limit = "async", map = "async", on = "async", race = "async",
  signal = "async", sleep = "async", spawn = "async", timeout = "async",
}
local modules = {
  approval = true, async = true, audit = true, error = true, events = true, http = true,
  json = true, link = true, log = true, middleware = true, notify = true, policy = true,
  proc = true, testing = true,
}

local codex = {}

return setmetatable(codex, {
  __index = function(_, name)
    local value
    if parts[name] then
      value = require("codex." .. parts[name])[name]
    elseif modules[name] then
      value = require("codex." .. name)
    else
      value = require("codex.instance").default[name]
    end
    rawset(codex, name, value)
    return value
  end,
})
