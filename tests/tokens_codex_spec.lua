--- What real Codex tells of tokens comes to what the model counted, turn by turn: calls of tools,
--- the next turn, compactions, forks, threads that another server takes up, servers that were
--- killed.

local app = require "tests.support.app_server"
local peers = require "tests.support.peers"
local uv = require "luv"

local free = { approval_policy = "never", sandbox = "danger-full-access" }

--- A model whose n-th answer costs 100n + 1 tokens of input and 10n of output, and that calls a
--- tool once where the prompt says so. `served()` is what it counted since it was asked last.
local function counting()
  local count, from = 0, 0
  local function reply(request)
    count = count + 1
    local usage = { input_tokens = 100 * count + 1, output_tokens = 10 * count,
      cached_input_tokens = count }
    if request.prompt:find "tool" and not request.outputs[1] then
      return { exec = "true", usage = usage }
    end
    return { text = "done", usage = usage }
  end
  local function served()
    local input, output = 0, 0
    for n = from + 1, count do input, output = input + 100 * n + 1, output + 10 * n end
    from = count
    return { input, output, input + output }
  end
  return reply, served
end

local function used(result)
  local usage = result.usage or {}
  return { usage.input_tokens, usage.output_tokens, usage.total_tokens }
end

for _, peer in ipairs { "latest", "middle", "old" } do
  describe("the tokens of a turn of Codex " .. peers.version[peer], function()
    local function with(config, body)
      local reply, served = counting()
      app.run({ peer = peer, reply = reply, config = config }, function(server)
        --- Asks, and compares.
        local function ask(thread, prompt)
          local result = assert(thread:ask(prompt, { timeout = 20 }))
          assert.same(served(), used(result))
        end
        body(server, ask, served)
      end)
    end

    it("are those that the model counted, also after calls of tools", function()
      with(nil, function(server, ask)
        local thread = assert(server.client:thread(free))
        for _, prompt in ipairs { "use a tool", "plain", "use a tool again" } do
          ask(thread, prompt)
        end
      end)
    end)

    it("are those after a compaction", function()
      with(nil, function(server, ask, served)
        local thread = assert(server.client:thread(free))
        ask(thread, "use a tool")
        local before = #server.model.requests
        assert(server.client:request("thread/compact/start", { threadId = thread.id }))
        server:wait_model(before + 1)
        server:wait("turn/completed", function(params) return params.turn.id ~= nil end)
        server:wait_count("turn/completed", 2)
        served()
        ask(thread, "plain")
      end)
    end)

    it("have those of a compaction that Codex began by itself among them", function()
      local counts = { 200, 300, 900, 50, 60, 70 } -- the third fills the window
      local input, asked, compacted = 0, 0, false
      local function reply(request)
        asked = asked + 1
        local count = counts[asked] or 10
        input = input + count
        compacted = compacted or request.prompt:find "COMPACTION" ~= nil
        return { text = "done", usage = { input_tokens = count } }
      end
      app.run({ peer = peer, reply = reply, config = { model_auto_compact_token_limit = 600 } },
        function(server)
          local thread = assert(server.client:thread(free))
          for _ = 1, 5 do
            local result = assert(thread:ask("plain", { timeout = 20 }))
            assert.same({ input, input }, { result.usage.input_tokens, result.usage.total_tokens })
            input = 0
          end
          assert.is_true(compacted)
        end)
    end)

    it("are those of a fork", function()
      with(nil, function(server, ask)
        local thread = assert(server.client:thread(free))
        ask(thread, "use a tool")
        local fork = assert(server.client:fork(thread.id, free))
        ask(fork, "use a tool")
        ask(fork, "plain")
        ask(thread, "plain")
      end)
    end)

    it("are those of a thread that another server takes up", function()
      with(nil, function(server, ask)
        local first = assert(server.client:thread(free))
        ask(first, "use a tool")
        local id = first.id
        server.client:close()
        local other <close> = server:connect()
        local thread = assert(other:resume(id, free))
        ask(thread, "use a tool")
        ask(thread, "plain")
      end)
    end)

    it("are those of a server that was killed and started anew", function()
      local reply, served = counting()
      app.run({ peer = peer, reply = reply, connect = { restart = 1 } }, function(server)
        local thread = assert(server.client:thread(free))
        assert.same({ 101, 10, 111 }, used(assert(thread:ask("plain", { timeout = 20 }))))
        assert(uv.kill(server.client.pid, "sigkill"))
        while not server.client:gone() do require("codex.async").sleep(0.01) end
        served()
        local again = used(assert(thread:ask("plain", { timeout = 20 })))
        assert.same(served(), again)
      end)
    end)
  end)
end
