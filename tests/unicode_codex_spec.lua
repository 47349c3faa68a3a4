--- What is no Unicode reaches Codex as U+FFFD: its reader ends at a lone surrogate, and a text may
--- have one that came from a file's name or from JSON that somebody else wrote.

local hook = require "codex.cli.hook"
local json = require "codex.json"
local peers = require "tests.support.peers"
local program = require "tests.support.program"
local testing = require "codex.testing"

local BAD, GOOD = "a\xED\xA0\x80z", "a\u{FFFD}z"

--- A Codex whose model calls the tool, if it has one, and then says "done".
local function with_codex(version, body)
  local folder, remove = program.folder()
  local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
  local model <close> = assert(testing.model { reply = function(request)
    if request.prompt == "json" then return '{"a":"done"}' end
    if #request.outputs > 0 or not request.prompt:find "^go" then return "done" end
    if request.prompt:find "tool" then return { call = { name = "look", arguments = {} } } end
    return { exec = "true" }
  end })
  local cx <close> = assert(testing.codex { model = model, binary = peers[version],
    env = { XDG_STATE_HOME = folder } })
  body(cx, model, folder)
end

local function connect(cx, folder)
  return assert(cx.connect { cwd = folder, audit = false, policies = {} })
end

--- What the model was told in its last request, as JSON.
local function told(model)
  return json.encode(model.requests[#model.requests].body.input, { repair = true })
end

for _, version in ipairs { "latest", "middle", "old" } do
  describe("a lone surrogate on its way to Codex " .. peers.version[version], function()
    it("is none in a request", function()
      with_codex(version, function(cx, model, folder)
        local client <close> = connect(cx, folder)
        local thread = assert(client:thread { sandbox = "read-only" })
        assert.equal("done", assert(thread:ask("say " .. BAD)).final_message)
        assert.truthy(told(model):find("say " .. GOOD, 1, true))
      end)
    end)

    if version ~= "old" then -- which has neither tools of clients nor hooks
      it("is none in what a tool returns", function()
        with_codex(version, function(cx, model, folder)
          local client <close> = connect(cx, folder)
          local thread = assert(client:thread { sandbox = "read-only", tools = { {
            name = "look", description = "looks", run = function() return BAD end,
          } } })
          assert.equal("done", assert(thread:ask "go tool").final_message)
          assert.truthy(told(model):find(GOOD, 1, true))
        end)
      end)

      it("is none in the answer of a hook", function()
        with_codex(version, function(cx, model, folder)
          program.write(folder .. "/hook.lua",
            ('return function() return { context = %q, system_message = %q } end'):format(BAD, BAD))
          do
            local setup <close> = assert(require("codex.setup").open(cx))
            assert(setup:trust(assert(setup:add_hook { event = "pre_tool_use", timeout = 5,
              command = hook.command_line("closed", 5, folder .. "/hook.lua") })))
          end
          local client <close> = connect(cx, folder)
          local thread = assert(client:thread { sandbox = "read-only" })
          assert.equal("done", assert(thread:ask "go").final_message)
          assert.truthy(told(model):find(GOOD, 1, true))
        end)
      end)
    end

    it("is none in a schema", function()
      with_codex(version, function(cx, model)
        assert(cx.exec("json", { skip_git_repo_check = true, output_schema = {
          type = "object", additionalProperties = false, required = { "a" },
          properties = { a = { type = "string", description = BAD } },
        } }))
        local schema = json.encode(model.requests[1].body.text, { repair = true })
        assert.truthy(schema:find(GOOD, 1, true))
      end)
    end)
  end)
end
