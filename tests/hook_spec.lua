--- Hooks: what a file may return, what it may not be, and that no hook harms another.

local codex = require "codex"
local hook = require "codex.hook"
local program = require "tests.support.program"
local uv = require "luv"

local dir

local function file(name, text, mode)
  program.write(dir .. "/" .. name, text, mode)
  if mode then assert(uv.fs_chmod(dir .. "/" .. name, mode)) end -- whatever the umask is
  return dir .. "/" .. name
end

local function new(given) return hook.new(given, "test") end

--- The outcomes of these hooks and the seconds that all of them took.
local function run(list, event)
  for i, given in ipairs(list) do
    if getmetatable(given) == nil then list[i] = hook.new(given, "hook" .. i) end
  end
  local started = uv.hrtime()
  local outcomes = hook.run_all(list, event or { type = "turn_complete" })
  return outcomes, (uv.hrtime() - started) / 1e9
end

local function refused(text, name)
  local list, err = hook.load(file(name or "bad.lua", text))
  assert.is_nil(list)
  assert.equal("io", err.kind)
  return err.message
end

describe("a hook file", function()
  local remove
  before_each(function() dir, remove = program.folder() end)
  after_each(function() remove() end)

  it("returns a table", function()
    local list = assert(hook.load(file("one.lua", [[
      return { name = "named", on = "turn_complete", timeout = 3, run = function() return 7 end }
    ]])))
    assert.equal(1, #list)
    assert.same({ "named", 3 }, { list[1].name, list[1].timeout })
    assert.equal(7, hook.run(list[1], {}).value)
  end)

  it("returns a function, which runs for everything and is called as the file", function()
    local list = assert(hook.load(file("short.lua", "return function(event) return event.x end")))
    assert.same({ "short", 10 }, { list[1].name, list[1].timeout })
    assert.is_true(list[1]:wants { type = "whatever" })
    assert.equal(8, hook.run(list[1], { x = 8 }).value)
  end)

  it("returns a list", function()
    local list = assert(hook.load(file("more.lua", [[
      return { { run = print, on = "stop" }, { run = print, name = "second" }, print }
    ]])))
    assert.same({ "more#1", "second", "more#3" },
      { list[1].name, list[2].name, list[3].name })
  end)

  it("that has a syntax error is named with its line", function()
    assert.matches("bad%.lua:2: .*expected", refused "return {\n run = = }")
  end)

  it("that throws says what, with a table without a text, too", function()
    assert.matches("bad%.lua:1: oh dear", refused "error 'oh dear'")
    assert.matches("bad%.lua: table: ", refused "error {}")
    assert.matches("bad%.lua: nil", refused "error()")
  end)

  it("that returns nonsense is told what it should have returned", function()
    for _, text in ipairs { "", "return 7", "return 'x'", "return nil", "return true" } do
      assert.matches("must return a hook, a list of them, or a function", refused(text))
    end
    assert.matches("it returned nothing", refused "")
    assert.matches("it returned a number", refused "return 7")
    assert.matches("a function `run` is needed", refused "return {}")
    assert.matches("a function `run` is needed", refused "return { run = 7 }")
    assert.matches("'when'.*function", refused "return { run = print, when = 1 }")
    assert.matches("'timeout'", refused "return { run = print, timeout = 'soon' }")
    assert.matches("'timeout'", refused "return { run = print, timeout = -1 }")
    assert.matches("'timeout'", refused "return { run = print, timeout = 0/0 }")
    assert.matches("`fail` is open or closed, got maybe",
      refused "return { run = print, fail = 'maybe' }")
    assert.matches("'onn'.*'on'", refused "return { run = print, onn = 'x' }")
  end)

  it("whose list has a hole, or is half a hook, is told where", function()
    assert.matches("bad%.lua: it returns a list with a hole at 2",
      refused "return { print, nil, print }")
    assert.matches("bad%.lua: it returns a list of hooks that has a key 'name'",
      refused "return { name = 'x', print }")
  end)

  it("that is for no event is told so, with the event that may be meant", function()
    local names = {
      PreToolUse = "pre_tool_use", ["pre-tool-use"] = "pre_tool_use", pretooluse = "pre_tool_use",
      PermissionRequest = "permission_request", stopp = "stop", turn_completed = "turn_complete",
    }
    for name, meant in pairs(names) do
      for _, form in ipairs { "%q", "{ %q }", "{ 'stop', %q }" } do
        local message = refused(("return { run = print, on = %s }"):format(form:format(name)))
        local expected = ("there is no event '%s'; did you mean '%s'?"):format(name, meant)
        assert.truthy(message:find(expected, 1, true), message)
      end
    end
    assert.matches("there is no event 'tea_is_ready'$",
      refused "return { run = print, on = 'tea_is_ready' }")
    assert.matches("`on` is a list.*has a key 'pre_tool_use'",
      refused "return { run = print, on = { pre_tool_use = true } }")
    assert.matches("has a key 'stop'", refused "return { run = print, on = { 'stop', stop = 1 } }")
    assert.matches("a list with a hole", refused "return { run = print, on = { nil, 'stop' } }")
    assert.matches("an empty list", refused "return { run = print, on = {} }")
    assert.matches("names events, got a number", refused "return { run = print, on = { 1 } }")
    assert.equal(2, #assert(hook.load(file("good.lua",
      "return { { run = print, on = '*' }, { run = print, on = { 'stop', 'update' } } }"))))
  end)

  it("that is binary, or not there, or a folder, is refused", function()
    assert.truthy(refused(string.dump(load "return print")))
    for _, path in ipairs { dir .. "/none.lua", dir } do
      local list, err = hook.load(path)
      assert.is_nil(list)
      assert.truthy(err.message:find(path, 1, true))
    end
  end)

  it("that others may write is refused and said", function()
    local path = file("open.lua", "return print", tonumber("666", 8))
    local list, err = hook.load(path)
    assert.is_nil(list)
    assert.matches("open%.lua' can be written by others than its owner; chmod go%-w", err.message)
  end)

  it("that calls os.exit, by any of its names, is a file with an error", function()
    for _, text in ipairs { "os.exit(0)", "_G.os.exit()", "local x = os.exit; x(7)" } do
      assert.matches("a hook cannot end the program", refused(text))
    end
  end)

  it("that loops for ever, or waits, is given up; the others are read in", function()
    local paths = {
      file("loop.lua", "while true do end"),
      file("wait.lua", "require('codex').sleep(1000)"),
      file("good.lua", "return print"),
    }
    local started = uv.hrtime()
    local list, problems = hook.load_all(paths)
    assert.is_true((uv.hrtime() - started) / 1e9 < 8)
    assert.same({ 1, "good" }, { #list, list[1].name })
    assert.same({ "loop", "wait" }, { problems[1].name, problems[2].name })
    for _, problem in ipairs(problems) do
      assert.matches("was not read in within 3 seconds", problem.err.message)
    end
  end)

  it("keeps its globals for itself", function()
    assert(hook.load(file("one.lua", "left_behind = 1; _G.here_too = 2; return print")))
    assert.is_nil(rawget(_G, "left_behind"))
    assert.is_nil(rawget(_G, "here_too"))
  end)
end)

describe("a hook", function()
  it("wants what its `on` names: one type, several, all", function()
    local one, several = new { run = print, on = "a" }, new { run = print, on = { "a", "b" } }
    local all = new { run = print, on = "*" }
    assert.same({ true, false }, { one:wants { type = "a" }, one:wants { type = "b" } })
    assert.same({ true, true, false },
      { several:wants { type = "a" }, several:wants { type = "b" }, several:wants { type = "c" } })
    assert.same({ true, true }, { all:wants { type = "c" }, all:wants {} })
  end)

  it("hears of internal threads only when it asks for them", function()
    local event = { type = "a", internal = true }
    assert.is_false(new { run = print }:wants(event))
    assert.is_true(new { run = print, internal = true }:wants(event))
  end)

  it("is skipped when its `when` says no, and fails when that throws", function()
    local ran = 0
    local function count() ran = ran + 1 end
    local outcomes = run {
      { run = count, when = function(event) return event.type == "other" end },
      { run = count, when = function() end },
      { run = count, when = function(event) return event.type == "turn_complete" end },
      { run = count, when = function() error "when?" end },
    }
    assert.equal(1, ran)
    assert.same({ true, true, nil, nil },
      { outcomes[1].skipped, outcomes[2].skipped, outcomes[3].skipped, outcomes[4].skipped })
    assert.same({ true, true, true, false },
      { outcomes[1].ok, outcomes[2].ok, outcomes[3].ok, outcomes[4].ok })
    assert.matches("when%?", outcomes[4].why)
  end)

  it("fails with what it throws, and with nil and a reason", function()
    local outcomes = run {
      { run = function() error "thrown" end },
      { run = function() error() end },
      { run = function() error({}) end },
      { run = function() return nil, "the reason" end },
      { run = function() return io.open "/no/such/file" end },
      { run = function() return false end },
    }
    assert.matches("thrown", outcomes[1].why)
    assert.equal("nil", outcomes[2].why)
    assert.matches("^table", outcomes[3].why)
    assert.equal("the reason", outcomes[4].why)
    assert.matches("/no/such/file: No such file", outcomes[5].why)
    for i = 1, 5 do assert.is_false(outcomes[i].ok) end
    assert.same({ true, false }, { outcomes[6].ok, outcomes[6].value })
  end)

  it("that calls os.exit in its function fails alone", function()
    local folder, remove = program.folder()
    dir = folder
    local list = assert(hook.load(file("exit.lua", "return function() os.exit(3) end")))
    list[2] = new(function() return "still here" end)
    local outcomes = run(list)
    assert.matches("cannot end the program with os.exit", outcomes[1].why)
    assert.equal("still here", outcomes[2].value)
    remove()
  end)

  it("that waits too long is ended, and what it waits for is closed", function()
    local closed = false
    local outcomes, seconds = run { {
      timeout = 0.2,
      run = function()
        local guard <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function() closed = true end,
        })
        codex.sleep(100)
      end,
    } }
    assert.is_true(closed)
    assert.equal("timed out after 0.2 seconds", outcomes[1].why)
    assert.is_true(seconds < 1)
  end)

  it("that loops for ever is ended, and costs those beside it only time", function()
    local outcomes, seconds = run {
      { timeout = 1, run = function() while true do end end },
      { timeout = 1, run = function() while true do pcall(error) end end },
      { timeout = 0.5, run = function() codex.sleep(0.2) return "slept" end },
      { timeout = 0.5, run = function() return codex.proc.run({ "echo", "hi" }).stdout end },
    }
    assert.equal("timed out after 1 seconds", outcomes[1].why)
    assert.equal("timed out after 1 seconds", outcomes[2].why)
    assert.same({ "slept", "hi\n" }, { outcomes[3].value, outcomes[4].value })
    assert.is_true(seconds < 5)
  end)

  it("does not wait for another: two can wait for each other", function()
    local here = 0
    local function meet()
      here = here + 1
      while here < 2 do codex.sleep(0.05) end
      return true
    end
    local outcomes = run { { run = meet }, { run = meet } }
    assert.same({ true, true }, { outcomes[1].value, outcomes[2].value })
    assert.is_true(outcomes[1].seconds >= 0.05)
  end)

  it("that fails stops none of the others; outcomes are in the order of the hooks", function()
    local outcomes = run {
      { name = "a", run = function() codex.sleep(0.1) return 1 end },
      { name = "b", run = function() error "no" end },
      { name = "other", on = "something_else", run = function() error "not called" end },
      { name = "c", run = function() return 3 end },
    }
    local names = {}
    for i, outcome in ipairs(outcomes) do names[i] = outcome.hook end
    assert.same({ "a", "b", "c" }, names)
    assert.same({ 1, 3 }, { outcomes[1].value, outcomes[3].value })
  end)

  it("may start tasks and children, which end with it when its time is over", function()
    local pid
    local outcomes = run { { timeout = 0.3, run = function()
      local child <close> = assert(codex.proc.spawn { "sleep", "100" })
      pid = child.pid
      codex.sleep(100)
    end } }
    assert.is_false(outcomes[1].ok)
    assert.is_true(program.eventually(function() return not program.alive(pid) end))
  end)
end)
