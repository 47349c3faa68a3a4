--- Somebody else's Lua is ended when its time is over, also where it is nearly always in our code.

local async = require "codex.async"
local guard = require "codex.guard"
local options = require "codex.options"
local program = require "tests.support.program"
local uv = require "luv"

describe("codex.guard", function()
  it("ends a loop that does next to nothing but call us", function()
    local long = ("a"):rep(300)
    -- A million instructions of ours to look for the nearest name, and a handful of the loop's.
    local function loop()
      while true do pcall(options.check, "f", { [long] = 1 }, { [long .. "bcd"] = true }) end
    end
    local started = uv.hrtime()
    local outcome = guard.run("a loop", 0.05, loop)
    assert.is_true(outcome.timed_out)
    assert.is_true(uv.hrtime() - started < 5e9)
  end)

  local function forever() while true do end end
  local always = setmetatable({}, { __tostring = forever, __index = forever, __close = forever,
    __lt = forever, __concat = forever })

  -- Every way to run code that a limit on the first coroutine alone would miss.
  local ways = {
    ["a coroutine"] = function() coroutine.resume(coroutine.create(forever)) end,
    ["a coroutine in a coroutine"] = function()
      coroutine.wrap(function() coroutine.wrap(forever)() end)()
    end,
    ["coroutines without end"] = function()
      while true do coroutine.resume(coroutine.create(forever)) end
    end,
    ["an iterator"] = function() for _ in coroutine.wrap(forever) do end end, -- luacheck: ignore
    ["a message handler"] = function() xpcall(error, forever) end,
    ["the message handler of a coroutine"] = function()
      coroutine.wrap(function() xpcall(error, forever) end)()
    end,
    ["a task of its own"] = function()
      local task = async.spawn(forever)
      pcall(task.join, task)
      async.sleep(9)
    end,
    ["tasks at once"] = function() async.all { forever, forever } end,
    ["__tostring"] = function() tostring(always) end,
    ["__index"] = function() return always.x end,
    ["__close"] = function() local x <close> = always end, -- luacheck: ignore
    ["__close of a coroutine that is closed"] = function()
      local co = coroutine.create(function()
        local x <close> = always -- luacheck: ignore
        coroutine.yield()
      end)
      coroutine.resume(co)
      coroutine.close(co)
    end,
    ["a comparison in a sort"] = function() table.sort({ always, always }) end,
    ["a replacement"] = function() (("x"):rep(9)):gsub("x", forever) end,
    ["a chunk that is read"] = function() load(function() return " " end) end,
    ["loops that catch"] = function() while true do pcall(forever) end end,
  }

  for name, way in pairs(ways) do
    it("ends a loop in " .. name, function()
      local started = uv.hrtime()
      local outcome = guard.run(name, 0.05, function()
        way()
        return "accept"
      end)
      assert.same({ timed_out = true }, outcome)
      assert.is_true(uv.hrtime() - started < 5e9)
    end)
  end

  --- Whether a loop in the file at this path is ended, in a program that is killed otherwise.
  local function is_ended(path)
    local code = ([[
      local outcome = require("codex.guard").run("a file", 0.05, assert(loadfile(%q)))
      os.exit(outcome.timed_out and 3 or 1)]]):format(path)
    return program.eval(code, { timeout = 5 }).code == 3
  end

  it("ends a loop in a file whose path looks like one of ours", function()
    local folder, remove = program.folder()
    local guarded <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    assert(require("codex.files").make_dir(folder .. "/lua/codex"))
    program.write(folder .. "/lua/codex/loop.lua", "while true do end")
    assert.is_true(is_ended(folder .. "/lua/codex/loop.lua"))
    local below = folder:sub(#program.root + 2) .. "/lua/codex/loop.lua"
    assert.is_true(is_ended(program.root .. "/lua/codex/../../" .. below))
  end)

  it("is not escaped by code with the name of ours", function()
    local own = require("codex.base.environment").new()
    local dumped = string.dump(async.spawn)
    for _, name in ipairs { "=lua/codex/async.lua", "=lua/codex/x",
      "@" .. program.root .. "/lua/codex/x.lua" } do
      for _, load_it in ipairs { load, own.load } do
        local chunk, message = load_it("while true do end", name)
        assert.is_nil(chunk)
        assert.truthy(message:find("that is the program's own", 1, true), message)
      end
    end
    assert.is_nil((load(dumped)))
    assert.same({ timed_out = true },
      guard.run("a name", 0.05, assert(load("while true do end", "@lua/codex/x.lua"))))
  end)

  it("leaves `load` as it is otherwise", function()
    assert.equal(3, load("return ...", "=lua/codex")(3))
    assert.equal("x", load("return y", "=y", "t", { y = "x" })())
    assert.same({ nil, "y:1: unexpected symbol near '+'" }, { load("return +", "=y") })
    assert.matches("^bad argument #1 to .* %(function expected, got no value%)$",
      select(2, pcall(load)))
  end)

  it("does not count what comes too late, where nothing could be interrupted", function()
    assert.same({ timed_out = true }, guard.run("C", 0.1, function()
      os.execute "sleep 0.3"
      return "accept"
    end))
  end)

  it("lets go on what a function in time has left behind", function()
    local ended
    local outcome = guard.run("in time", 0.05, function()
      async.spawn(function()
        async.sleep(0.1)
        for _ = 1, 3000000 do ended = true end
        ended = "by itself"
      end)
      return 1
    end)
    assert.equal(1, outcome[1])
    async.sleep(0.2)
    assert.equal("by itself", ended)
  end)
end)
