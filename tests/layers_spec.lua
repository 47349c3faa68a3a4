--- The shape of the C code: who may include whom, and how long a function may be.

local program = require "tests.support.program"
local proc = require "codex.proc"

-- What a file may include of ours, besides its own header. Each layer of host/ sees the lower ones.
local parsers = "err buf log lines token json rpc"
local may = {
  ["host/platform"] = "keeper",
  ["host/keeper"] = "",
  ["host/err"] = "codex_lua",
  ["host/buf"] = "err",
  ["host/naming"] = "buf",
  ["host/redact"] = "buf naming",
  ["host/secrets"] = "err buf",
  ["host/log"] = "err buf redact secrets",
  ["host/lines"] = "err buf",
  ["host/token"] = "err buf",
  ["host/json"] = "err buf token",
  ["host/scan"] = "err buf token",
  ["host/message"] = "err buf token",
  ["host/rpc"] = "err message token json",
  ["host/envelope"] = "err json message scan",
  ["host/paths"] = "err",
  ["host/harden"] = "err",
  ["host/boot"] = "",
  ["host/spawn"] = "children err proc",
  ["host/watch"] = "",
  ["host/watchdog"] = "",
  ["host/witness"] = "",
  ["host/outgoing"] = "err",
  ["host/children"] = "",
  ["host/proc"] = "err buf children outgoing spawn watch",
  ["host/pipe"] = "err outgoing",
  ["host/attach"] = "err",
  ["host/http"] = "err buf",
  ["host/httpd"] = "err buf log",
  ["host/secret"] = "err buf",
  ["host/socket"] = "",
  ["host/ws"] = "err socket peer",
  ["host/peer"] = "err buf token ws",
  ["host/link"] = parsers .. " proc pipe",
  ["host/pool"] = "",
  ["host/state"] = "buf pool codex_lua log attach boot paths bind modules",
  ["host/visit"] = "",
  ["host/script"] = "err state",
  ["host/host"] = "codex_lua " .. parsers .. " state script visit",
  ["host/supervisor"] = "",
  ["host/main"] = "children codex_lua paths supervisor witness",
  ["host/codex_lua"] = "",
  ["bindings/bind"] = "err log",
  ["bindings/modules"] = "",
}
local binding = parsers
  .. " scan envelope naming paths proc http httpd secret ws link bind argv pack parse write "
  .. "modules pipe watchdog witness"

-- Who may see headers of others: lua.h stays out of the core, libuv out of the parsers.
local foreign = {
  lua = "host/host host/script host/state host/boot bindings",
  uv = "host/watch host/outgoing host/proc "
    .. "host/pipe host/attach host/state host/httpd host/http host/secret "
    .. "host/link host/ws bindings",
}
local foreign_headers = {
  ["lua.h"] = "lua", ["lauxlib.h"] = "lua", ["lualib.h"] = "lua", ["luv/luv.h"] = "lua",
  ["uv.h"] = "uv",
}

local function has_word(list, word)
  return (" " .. list .. " "):find(" " .. word .. " ", 1, true) ~= nil
end

local function sources()
  local list = {}
  local cwd = program.root
  local result = assert(proc.run({ "sh", "-c", "ls host/*.[ch] bindings/*.[ch]" }, { cwd = cwd }))
  for path in result.stdout:gmatch "[^\n]+" do
    local file = assert(io.open(cwd .. "/" .. path))
    list[path] = file:read "a"
    file:close()
  end
  return list
end

local function allowed(unit, included)
  if unit:match "[^/]*$" == included then return true end
  if included == "platform" and unit:match "^host/" then return true end
  local list = may[unit] or (unit:match "^bindings/" and binding)
  return list and has_word(list, included)
end

local function wrong_arrows(path, text)
  local unit, wrong = path:match "(.*)%.", {}
  local function complain(name) wrong[#wrong + 1] = path .. " includes " .. name end
  for name in text:gmatch '#include "([^"]+)%.h"' do
    if not allowed(unit, name) then complain(name .. ".h") end
  end
  for name in text:gmatch "#include <([^>]+)>" do
    local list = foreign[foreign_headers[name]]
    local in_bindings = unit:match "^bindings/" and "bindings"
    if list and not has_word(list, in_bindings or unit) then complain("<" .. name .. ">") end
  end
  return wrong
end

-- Functions begin with a line that ends in "{" and does not begin with a space.
local function long_functions(path, text)
  local long, number, began, name = {}, 0, nil, nil
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    if line:match "^[%w_].*%) {$" then began, name = number, line end
    if line == "}" and began then
      if number - began + 1 > 60 then long[#long + 1] = ("%s:%d: %s"):format(path, began, name) end
      began = nil
    end
  end
  return long
end

describe("the C code", function()
  it("has no callback of the same name in two files: a backtrace tells which it was", function()
    local where, twice, count = {}, {}, 0
    for path, text in pairs(sources()) do
      for name in ("\n" .. text):gmatch "\nstatic [%w_ *]-([%w_]*on_[%w_]+)%(" do
        if where[name] and where[name] ~= path then
          twice[#twice + 1] = ("%s: %s and %s"):format(name, where[name], path)
        end
        where[name], count = path, count + 1
      end
    end
    assert.same({}, twice)
    assert.is_true(count > 100)
  end)

  it("includes nothing upward or sideways", function()
    local wrong, count = {}, 0
    for path, text in pairs(sources()) do
      count = count + 1
      for _, arrow in ipairs(wrong_arrows(path, text)) do wrong[#wrong + 1] = arrow end
    end
    assert.same({}, wrong)
    assert.is_true(count > 25)
  end)

  it("has no function over 60 lines", function()
    local long = {}
    for path, text in pairs(sources()) do
      for _, name in ipairs(long_functions(path, text)) do long[#long + 1] = name end
    end
    assert.same({}, long)
  end)

  it("would be caught if it did", function()
    assert.equal(1, #wrong_arrows("host/lines.c", '#include "lines.h"\n#include "proc.h"\n'))
    assert.equal(1, #wrong_arrows("host/json.h", "#include <uv.h>\n"))
    assert.equal(1, #wrong_arrows("host/proc.c", "#include <lua.h>\n"))
    assert.equal(1, #wrong_arrows("host/unknown.c", '#include "buf.h"\n'))
    assert.equal(1, #wrong_arrows("bindings/x.c", '#include "codex_lua.h"\n'))
    assert.equal(1, #long_functions("x.c", "int f(void) {\n" .. ("  ;\n"):rep(59) .. "}\n"))
    assert.equal(0, #long_functions("x.c", "int f(void) {\n" .. ("  ;\n"):rep(58) .. "}\n"))
  end)
end)
