--- A peer for link_spec.lua: our own program, talking over its standard streams.

local async = require "codex.async"
local link = require "codex.link"

local peer ---@type codex.Link
local methods, busy, changed = {}, 0, async.signal()

function methods.echo(request) request:reply(request.params) end
function methods.nothing(request) request:reply() end
function methods.fail(request) request:fail(-32000, "no", { why = "because" }) end
function methods.throw() error "oh no" end
function methods.silent() end

function methods.twice(request)
  request:reply "first"
  request:reply "second"
  request:fail(1, "third")
end

function methods.late(request)
  async.sleep(request.params.seconds)
  request:reply(request.params)
end

--- Asks back, and says what came of it.
function methods.ask(request)
  local result, err = peer:request(request.params.method, request.params.params)
  request:reply {
    result = result, error = err and { kind = err.kind, code = err.code, message = err.message },
  }
end

function methods.print(request)
  io.stdout:write(request.params)
  io.stdout:flush()
  request:reply()
end

function methods.exit(request)
  io.stderr:write "last words\n"
  os.exit(request.params)
end

peer = assert(link.stdio {
  on_request = function(request)
    busy = busy + 1
    local done <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
      busy = busy - 1
      changed:notify()
    end })
    local method = methods[request.method]
    if method then method(request) end
  end,
  on_notification = function(method, params) peer:notify("heard " .. method, params) end,
  on_closed = function() changed:notify() end,
})

while busy > 0 or not peer:gone() do changed:wait() end
peer:close()
