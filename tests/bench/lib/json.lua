--- Documents and readers for the benchmarks of JSON.

local json = require "codex.json"
local kit = require "tests.bench.lib.kit"
local uv = require "luv"

local M = {}

local function repeated(count, form)
  local list = {}
  for i = 1, count do list[i] = form:gsub("%%d", i) end
  return list
end

--- What goes back and forth: messages of the app-server as they were recorded, deltas, the output
--- of a command, long texts, and a table of figures.
---@return table<string, string[]> documents by kind
function M.documents()
  local recorded = {}
  for line in io.lines "tests/fixtures/appserver-0.169.0-cmd-approval-accept.jsonl" do
    recorded[#recorded + 1] = line
  end
  local figures = {}
  for i = 1, 2000 do figures[i] = ('{"at":%d,"value":%.3f}'):format(i * 977, i / 7) end
  local line = [[drwxr-xr-x 2 root root\t4096 Nov 21 \"a file\"\n]]
  return {
    recorded = recorded,
    deltas = repeated(200, '{"method":"item/agentMessage/delta","params":{"threadId":'
      .. '"01a1ff0e-89a4-7f92","turnId":"%d","itemId":"item_%d","delta":" word"}}'),
    output = repeated(20, '{"id":%d,"output":"' .. line:rep(60) .. '"}'),
    ascii = repeated(20, '{"id":%d,"text":"' .. ("The quick brown fox jumps. "):rep(100) .. '"}'),
    umlauts = repeated(20, '{"id":%d,"text":"' .. ("Grüße aus Köln am Rhein, "):rep(100) .. '"}'),
    japanese = repeated(20, '{"id":%d,"text":"' .. ("日本語のテキスト。"):rep(100) .. '"}'),
    figures = { "[" .. table.concat(figures, ",") .. "]" },
  }
end

local function lua_cjson()
  local path = package.searchpath("cjson", "/usr/lib/x86_64-linux-gnu/lua/5.4/?.so")
    or package.searchpath("cjson", package.cpath)
  local open = path and package.loadlib(path, "luaopen_cjson")
  return assert(open, "lua-cjson is not installed (Debian's package is lua-cjson)")()
end

--- Who reads and writes: ours, cJSON with a walk through its tree, lua-cjson.
---@async
---@return table<string, { decode: function, encode?: function }>
function M.libraries()
  local path = kit.compile("cjson", {
    "-shared", "-fPIC", "-isystem", "/usr/include/lua5.4", "-Wl,--no-as-needed", "-lcjson",
  }, "cjson.so")
  return {
    ["codex.json"] = json,
    ["cJSON"] = { decode = assert(package.loadlib(path, "luaopen_cjson_tree"))() },
    ["lua-cjson"] = lua_cjson(),
  }
end

--- A side that calls a function with each value of all kinds. Every kind is a metric, too.
---@param name string
---@param calls fun(): fun(value: any), table<string, any[]>
---@return table
function M.side(name, calls)
  local fn, values
  return {
    name = name,
    run = function()
      if not fn then fn, values = calls() end
      local figures = {}
      for kind, list in pairs(values) do
        collectgarbage()
        local began = uv.hrtime()
        for _ = 1, 30 do
          for i = 1, #list do fn(list[i]) end
        end
        figures[kind] = (uv.hrtime() - began) / 1e9
      end
      return figures
    end,
  }
end

return M
