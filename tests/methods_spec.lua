--- The table of methods against what three real versions of Codex say of their app-server, and the
--- functions made from it against a client that only writes down what it is asked.

local base64 = require "codex.base64"
local E = require "codex.error"
local helper = require "codex.helper"
local json = require "codex.json"
local methods = require "codex.methods"
local peers = require "tests.support.peers"
local schemas = require "tests.support.schema"

local names = { "latest", "middle", "old" }
local kinds = { "stable", "experimental" }
local rank = { [peers.version.old] = 1, [peers.version.middle] = 2, [peers.version.latest] = 3 }
assert.same(methods.versions, { peers.version.old, peers.version.middle, peers.version.latest })

local loaded = {}
local function schema_of(name, kind)
  local key = name .. kind
  loaded[key] = loaded[key] or schemas.load(name, kind)
  return loaded[key]
end

local function sorted(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  table.sort(list)
  return list
end

--- All rows: how the function is called, the row, the name of its group.
local rows = {}
for group, described in pairs(methods.groups) do
  for name, row in pairs(described.rows) do
    rows[#rows + 1] = {
      called = described.called .. name, name = name, row = row, group = group,
      thread = described.thread,
    }
  end
end
table.sort(rows, function(a, b) return a.called < b.called end)

local wrapped = {}
for _, one in ipairs(rows) do wrapped[one.row[1]] = one.called end

local function has(row, version)
  local first = row.since and rank[row.since] or 1
  local last = row.last and rank[row.last] or 3
  return first <= rank[version] and rank[version] <= last
end

-- The newest of the versions that has it.
local function schema_for(row)
  return schema_of(row.last and "middle" or "latest", "experimental")
end

describe("the checker", function()
  local root = { definitions = { short = { type = "string", enum = { "a", "b" } } } }

  local cases = {
    { { type = "integer", minimum = 0 }, 3, -1, 1.5, "3" },
    { { type = { "string", "null" } }, json.null, 3, false },
    { { ["$ref"] = "#/definitions/short" }, "b", "c", 3 },
    { { type = "array", items = { type = "boolean" } }, json.array { true }, json.object {},
      json.array { 1 } },
    { { type = "object", required = { "a" }, properties = { a = { type = "string" } } },
      { a = "x" }, {}, { a = 1 }, json.array {} },
    { { additionalProperties = { type = "string" }, properties = { n = { type = "number" } } },
      { n = 1, a = "x" }, { n = 1, a = 2 } },
    { { oneOf = { { type = "number" }, { type = "string" } } }, "x", true },
    { { oneOf = { { type = "number" }, { type = "integer" } } }, 1.5, 1 },
    { { anyOf = { { type = "null" }, { const = 5 } } }, 5, 6 },
    { { allOf = { { minimum = 1 }, { type = "integer" } } }, 1, 0, 1.5 },
    { { properties = { no = false } }, {}, { no = 1 } },
  }
  for i, case in ipairs(cases) do
    it("takes what fits and says what does not (" .. i .. ")", function()
      local checker = schemas.new(root)
      assert.is_nil(checker:problem(case[1], case[2]))
      for n = 3, #case do
        assert.is_string(checker:problem(case[1], case[n]), json.encode(case[n]))
      end
    end)
  end

  it("does not pass over words that it does not know", function()
    assert.error_matches(function() schemas.new(root):problem({ pattern = "^a" }, "a") end,
      "does not know 'pattern'")
  end)

  it("understands everything that Codex writes: what it makes up for a method fits", function()
    for _, name in ipairs(names) do
      local schema, count = schema_of(name, "experimental"), 0
      for method, one in pairs(schema.methods) do
        for _, part in pairs { one.params, one.result } do
          assert.is_nil(schema:problem(part, schema:example(part)), method)
          count = count + 1
        end
      end
      assert.is_true(count > 100)
    end
  end)
end)

describe("the table", function()
  it("has each method in one place", function()
    for method in pairs(wrapped) do
      assert.is_nil(methods.elsewhere[method], method)
      assert.is_nil(methods.raw[method], method)
    end
    for method in pairs(methods.elsewhere) do assert.is_nil(methods.raw[method], method) end
  end)

  for _, name in ipairs(names) do
    local version = peers.version[name]

    for _, kind in ipairs(kinds) do
      it(("knows every method of %s, %s"):format(version, kind), function()
        for method in pairs(schema_of(name, kind).methods) do
          local known = wrapped[method] or methods.elsewhere[method] or methods.raw[method]
          assert.is_truthy(known, "not in the table: " .. method)
        end
      end)
    end

    it(("says right which methods %s has, and which are experimental"):format(version), function()
      local all = schema_of(name, "experimental").methods
      local stable = schema_of(name, "stable").methods
      for _, one in ipairs(rows) do
        local method = one.row[1]
        assert.equal(has(one.row, version), all[method] ~= nil, one.called)
        if all[method] then
          assert.equal(one.row.experimental or false, stable[method] == nil, one.called)
        end
      end
    end)
  end

  for _, name in ipairs(names) do
    local version = peers.version[name]

    it(("says right which options %s has"):format(version), function()
      local schema = schema_of(name, "experimental")
      for _, one in ipairs(rows) do
        if has(one.row, version) then
          local properties = schema:params_of(one.row[1])
          for _, field in ipairs(helper.fields(one.row.options, "any")) do
            assert.equal(has(field, version), properties[field.wire] ~= nil,
              one.called .. " " .. field.name)
          end
        end
      end
    end)
  end

  it("lists no method that the newest Codex does not have, unless it says so", function()
    local latest = schema_of("latest", "experimental").methods
    for method in pairs(methods.elsewhere) do assert.is_truthy(latest[method], method) end
    for method in pairs(methods.raw) do
      local last = methods.gone[method]
      assert.equal(last == nil, latest[method] ~= nil, method)
      if last then
        assert.equal(peers.version.old, last)
        assert.is_truthy(schema_of("old", "stable").methods[method], method)
      end
    end
  end)

  local function lacking(version)
    local list = {}
    for _, one in ipairs(rows) do
      if not has(one.row, version) then list[#list + 1] = one.called end
    end
    return table.concat(list, " ")
  end

  it("has these functions that a version does not", function()
    assert.equal("thread:rollback", lacking(peers.version.latest))
    assert.equal("thread:read_items", lacking(peers.version.middle))
    assert.equal("client.fs:copy client.fs:create_directory client.fs:metadata client.fs:read "
      .. "client.fs:read_directory client.fs:remove client.fs:unwatch client.fs:watch "
      .. "client.fs:write client:command_resize client:command_terminate client:command_write "
      .. "client:hooks client:mcp_call client:mcp_resource client:permission_profiles "
      .. "client:search_threads client:set_features client:usage thread.queue:add "
      .. "thread.queue:delete thread.queue:list thread.queue:reorder thread.queue:start "
      .. "thread.queue:update thread:clear_goal thread:delete thread:goal thread:inject_items "
      .. "thread:items thread:mcp_call thread:read_items thread:revert thread:search "
      .. "thread:set_goal thread:set_metadata thread:set_settings thread:shell_command "
      .. "thread:terminal_terminate thread:terminals thread:turns thread:unsubscribe",
      lacking(peers.version.old))
  end)

  it("gives a reason for what is not wrapped", function()
    for method, reason in pairs(methods.raw) do assert.is_true(#reason > 10, method) end
  end)
end)

-- ---- Calls --------------------------------------------------------------------------------------

--- A client that writes down what it is asked and answers with `reply`: a value, or a function.
local function recorder(reply)
  local client = methods.install({ asked = {} }, "client")
  client.fs = methods.part(client, "fs")
  function client:request(method, params, opts)
    self.asked[#self.asked + 1] = { method = method, params = params, opts = opts }
    if type(reply) ~= "function" then return reply or {} end
    return reply(method, params, #self.asked)
  end
  return client
end

--- What the functions of a group are called on.
local function target(client, group)
  if group == "client" then return client end
  if group == "fs" then return client.fs end
  local thread = methods.install({ id = "t1", client = client }, "thread")
  thread.queue = methods.part(thread, "queue")
  return group == "queue" and thread.queue or thread
end

local made_up = { bytes = "b\0y", input = "hello", edits = { ["a.b"] = 1, c = json.null } }

--- A value for an argument or option, made from the schema of the property.
local function value_for(schema, properties, field)
  if made_up[field.kind] then return made_up[field.kind] end
  local property = properties[field.wire]
  if property == true and field.kind == "table" then return { anything = 1 } end
  return property == nil and "x" or schema:example(property)
end

--- Calls a function with all its arguments, and all its options or none; returns the request.
local function request_of(one, with_options)
  local schema = schema_for(one.row)
  local properties = schema:params_of(one.row[1])
  local arguments, given = {}, {}
  local fields = helper.fields(one.row[2], "string")
  for i, field in ipairs(fields) do
    local wanted = with_options or not field.optional
    arguments[i] = wanted and value_for(schema, properties, field) or nil
  end
  if with_options then
    for _, field in ipairs(helper.fields(one.row.options, "any")) do
      given[field.name] = value_for(schema, properties, field)
    end
    if one.row.pages then given.cursor, given.limit = "c0", 3 end
    arguments[#fields + 1] = given
  end
  local client = recorder { data = json.array {} }
  local on = target(client, one.group)
  on[one.name](on, table.unpack(arguments, 1, #fields + 1))
  assert.equal(1, #client.asked)
  return client.asked[1], schema
end

describe("every function", function()
  for _, one in ipairs(rows) do
    local method = one.row[1]

    it(("%s says what %s wants"):format(one.called, method), function()
      for _, all in ipairs { true, false } do
        local asked, schema = request_of(one, all)
        assert.equal(method, asked.method)
        local described = schema.methods[method]
        if described.required then assert.is_table(asked.params) end
        if asked.params then
          assert.is_nil(schema:problem(described.params, asked.params))
        end
      end
    end)

    it(("%s has all params of %s, and no others"):format(one.called, method), function()
      local schema = schema_for(one.row)
      local properties = schema:params_of(method)
      local asked = request_of(one, true)
      assert.same(sorted(properties), sorted(asked.params or {}))
    end)

    it(("%s knows which of its params are lists"):format(one.called), function()
      local schema = schema_for(one.row)
      local properties = schema:params_of(method)
      for _, words in ipairs { one.row[2] or "", one.row.options or "" } do
        for _, field in ipairs(helper.fields(words, "string")) do
          local property = schema:resolve(properties[field.wire])
          local is = property ~= true and property.type
          is = type(is) == "table" and is[1] or is
          if field.kind ~= "input" and field.kind ~= "edits" then
            assert.equal(is == "array", field.kind == "list", field.name)
          end
        end
      end
    end)

    it(("%s returns what is in the result of %s"):format(one.called, method), function()
      local returns = one.row.pages and "data" or one.row.returns
      for _, name in ipairs(names) do
        if has(one.row, peers.version[name]) then
          local schema = schema_of(name, "experimental")
          local result = assert(schema.methods[method].result, "no result is known")
          result = schema:resolve(result)
          if returns == true then
            assert.same({}, result.properties or {})
          elseif returns then
            local wire = returns:gsub(":bytes$", "Base64")
            assert.is_truthy((result.properties or {})[wire], wire)
          end
          local paged = (result.properties or {}).nextCursor ~= nil
          assert.equal(paged, one.row.pages or false)
        end
      end
    end)
  end
end)

describe("a call", function()
  it("spells names as Codex does", function()
    assert.equal("keyPath", helper.wire_name "key_path")
    assert.equal("_meta", helper.wire_name "_meta")
    assert.equal("aBC", helper.wire_name "a_b_c")
    assert.equal("responsesapiClientMetadata", helper.wire_name "responsesapi_client_metadata")
  end)

  it("does not take the place of a function that is written by hand", function()
    local class = methods.install({ read = "mine" }, "thread")
    assert.equal("mine", class.read)
    assert.is_function(class.archive)
  end)

  it("returns a field, the result, the list, bytes, or that it worked", function()
    local reply = { thread = { id = "t" }, data = { 1 }, dataBase64 = base64.encode "\0x",
      config = {} }
    local client = recorder(reply)
    local thread = target(client, "thread")
    assert.same({ id = "t" }, thread:read())
    assert.equal(reply, client:config())
    assert.same({ 1 }, client:skills())
    assert.equal("\0x", client.fs:read "/x")
    assert.is_true(client:logout())
  end)

  it("returns nil and no error for what there is none of", function()
    local client = recorder { goal = json.null, cleared = false }
    local thread = target(client, "thread")
    assert.same({ n = 1 }, table.pack(thread:goal()))
    assert.is_false(thread:clear_goal())
  end)

  it("has the thread's id, whatever it is by now", function()
    local client = recorder()
    local thread = target(client, "thread")
    thread:archive()
    thread.id = "t2"
    thread.queue:add "next"
    assert.equal("t1", client.asked[1].params.threadId)
    assert.equal("t2", client.asked[2].params.threadId)
    assert.same({ { type = "text", text = "next" } }, client.asked[2].params.input)
  end)

  it("names what the user did not", function()
    local client = recorder()
    local thread = target(client, "thread")
    thread.queue:add "a"
    thread.queue:add "b"
    thread.queue:add("c", { client_user_message_id = "mine" })
    local first, second, third = client.asked[1].params.clientUserMessageId,
      client.asked[2].params.clientUserMessageId, client.asked[3].params.clientUserMessageId
    assert.is_true(#first > 8 and first ~= second)
    assert.equal("mine", third)
  end)

  it("leaves values as they are", function()
    local client = recorder()
    local policy = { type = "workspaceWrite", writableRoots = { "/w" }, snake_case = true }
    client:command({ "true" }, { sandbox_policy = policy })
    assert.equal(policy, client.asked[1].params.sandboxPolicy)
    client:threads { sort_key = "updated_at" }
    assert.equal("updated_at", client.asked[2].params.sortKey)
  end)

  it("sends an empty list as a list", function()
    local client = recorder { data = {}, files = {} }
    client:skills { cwds = {} }
    client:search_files("x", {})
    assert.equal('{"cwds":[]}', json.encode(client.asked[1].params))
    assert.equal('{"query":"x","roots":[]}', json.encode(client.asked[2].params))
  end)

  it("sends no params where Codex wants none", function()
    local client = recorder { data = {} }
    client:logout()
    client:rate_limits()
    client:skills()
    assert.is_nil(client.asked[1].params)
    assert.is_nil(client.asked[2].params)
    assert.same({}, client.asked[3].params)
  end)

  it("takes settings as a map, or as Codex's list of edits", function()
    local client = recorder()
    client:set_configs { ["b.c"] = 2, a = json.null }
    assert.same({
      { keyPath = "a", value = json.null, mergeStrategy = "replace" },
      { keyPath = "b.c", value = 2, mergeStrategy = "replace" },
    }, client.asked[1].params.edits)
    local edits = { { keyPath = "a", value = 1, mergeStrategy = "upsert" } }
    client:set_configs(edits)
    assert.equal(edits, client.asked[2].params.edits)
  end)

  it("replaces a setting unless it is told to merge", function()
    local client = recorder()
    client:set_config("a", 1)
    client:set_config("a", { b = 1 }, { merge_strategy = "upsert" })
    assert.equal("replace", client.asked[1].params.mergeStrategy)
    assert.equal("upsert", client.asked[2].params.mergeStrategy)
  end)

  it("waits as long as it is told, and longer than the command it asks for", function()
    local client = recorder { data = {} }
    client:account()
    client:account { timeout = 3 }
    client:threads { timeout = 4 }
    client:command({ "x" }, { timeout_ms = 90000 })
    client:command({ "x" }, { timeout_ms = 90000, timeout = 1 })
    client:command({ "x" }, { disable_timeout = true })
    local waits = {}
    for i, one in ipairs(client.asked) do waits[i] = one.opts and one.opts.timeout or false end
    assert.same({ false, 3, 4, 100, 1, 0 }, waits)
    assert.is_nil(client.asked[2].params.timeout)
  end)
end)

describe("the caller's mistakes", function()
  local client = recorder()
  local thread = target(client, "thread")

  local cases = {
    ["client:threads: option 'archive' is unknown; did you mean 'archived'?"] = function()
      client:threads { archive = true }
    end,
    ["client:threads: options must be a table, got string"] = function() client:threads "x" end,
    ["client:set_config: argument 'value' must be a value, got nil"] = function()
      client:set_config "model"
    end,
    ["client:command: argument 'command' must be a table, got string"] = function()
      client:command "ls"
    end,
    ["client.fs:write: argument 'data' must be a string, got nil"] = function()
      client.fs:write "/x"
    end,
    ["thread.queue:add: argument 'input' must be a string or a table, got number"] = function()
      thread.queue:add(3)
    end,
    ["thread:rollback: argument 'num_turns' must be a number, got string"] = function()
      thread:rollback "1"
    end,
    ["client:skills: option 'cwds' must be a table, got string"] = function()
      client:skills { cwds = "/x" }
    end,
    ["client:account: option 'timeout' must be a number, got string"] = function()
      client:account { timeout = "1" }
    end,
    ["thread:items: option 'limit' must be a whole number, got 1.5"] = function()
      thread:items { limit = 1.5 }
    end,
    ["thread:items: option 'page_size' must be a whole number, got 0"] = function()
      thread:items { page_size = 0 }
    end,
    ["client:each: 'skills' is no list that comes in pages"] = function()
      client:each "skills"
    end,
  }
  for message, mistake in pairs(cases) do
    it("are raised where they were made: " .. message, function()
      local ok, raised = pcall(mistake)
      assert.is_false(ok)
      assert.equal(message, raised:match "methods_spec.lua:%d+: (.*)" or raised)
    end)
  end
end)

describe("Codex's no", function()
  local function answer(kind, code, message)
    return recorder(function() return nil, E.new(kind, message, { code = code }) end)
  end

  local unknown = "Invalid request: unknown variant `fs/readFile`, expected one of `initialize`"

  it("is of kind unsupported when it does not know the method", function()
    local client = answer("rpc", -32600, unknown)
    local result, err = client.fs:read "/x"
    assert.is_nil(result)
    assert.is_true(E.is(err, "unsupported"))
    assert.equal("client.fs:read: this Codex has no method 'fs/readFile'; Codex 0.153.4 has it",
      err.message)
    assert.equal(-32600, err.code)
  end)

  it("names the last version of a method that is gone", function()
    local client = answer("rpc", -32600, "Invalid request: unknown variant `thread/rollback`, x")
    local _, err = target(client, "thread"):rollback(1)
    assert.equal("thread:rollback: this Codex has no method 'thread/rollback'; "
      .. "Codex 0.153.4 was the last seen to have it", err.message)
  end)

  it("is as it was when it is another one", function()
    for _, other in ipairs {
      { "rpc", -32600, "Invalid request: unknown variant `x`, expected `replace` or `upsert`" },
      { "rpc", -32603, unknown },
      { "timeout", nil, unknown },
      { "rpc", -32600, "Not initialized" },
    } do
      local _, err = answer(table.unpack(other, 1, 3)).fs:read "/x"
      assert.equal(other[1], err.kind)
      assert.equal(other[3], err.message)
    end
  end)

  it("is not waited for where it is known that it would not heed an option", function()
    local client = recorder { data = {} }
    client.version = "0.101.0"
    local list, err = client:threads { cwd = "/" }
    assert.is_nil(list)
    assert.is_true(E.is(err, "unsupported"))
    assert.equal("client:threads: Codex 0.101.0 has no option 'cwd'; Codex 0.153.4 has it",
      err.message)
    assert.is_true(E.is(select(2, client:command({ "true" }, { env = { A = "1" } })),
      "unsupported"))
    assert.equal(0, #client.asked)
    assert(client:threads { archived = true })
    -- Nobody looked at what is between 0.101.0 and 0.153.4.
    for i, version in ipairs { "0.140.0", "0.153.4-alpha.1", "0.169.0", "1.0.0", "?" } do
      client.version = version
      assert(client:threads { cwd = "/" })
      assert.equal(i + 1, #client.asked)
    end
    client.version = "0.153.4"
    assert.is_nil((client:threads { originators = { "x" } }))
    client.version = "0.160.0"
    assert(client:threads { originators = { "x" } })
  end)

  it("is an error of the protocol where the answer is not what it must be", function()
    for _, reply in ipairs { "text", { dataBase64 = "%" }, { dataBase64 = 3 }, {} } do
      local _, err = recorder(reply).fs:read "/x"
      assert.is_true(E.is(err, "protocol"))
    end
    local _, err = recorder { data = "x" }:threads()
    assert.is_true(E.is(err, "protocol"))
  end)
end)

describe("a list in pages", function()
  --- A client with this many threads, named by their number; at most ten come at once.
  local function client_with(count)
    return recorder(function(_, params)
      local first = tonumber(params.cursor or "1")
      local last = math.min(count, first + math.min(params.limit or 10, 10) - 1)
      local data = json.array {}
      for i = first, last do data[#data + 1] = i end
      return { data = data, nextCursor = last < count and tostring(last + 1) or json.null }
    end)
  end

  it("is fetched to its end", function()
    local client = client_with(25)
    local list = assert(client:threads { archived = true })
    assert.equal(25, #list)
    assert.equal(25, list[25])
    assert.equal(3, #client.asked)
    assert.is_true(client.asked[3].params.archived)
  end)

  it("is a list also when it is empty", function()
    assert.equal("[]", json.encode((client_with(0):threads())))
  end)

  it("ends at the limit, and asks for no more than that", function()
    local client = client_with(25)
    assert.equal(12, #client:threads { limit = 12 })
    assert.equal(12, client.asked[1].params.limit)
    assert.equal(2, client.asked[2].params.limit)
    assert.equal(0, #client:threads { limit = 0 })
    assert.equal(2, #client.asked)
  end)

  it("ends at the limit also when Codex sends more", function()
    local client = recorder { data = { 1, 2, 3 }, nextCursor = "x" }
    assert.same({ 1, 2 }, client:threads { limit = 2 })
  end)

  it("comes in pages of the size that is asked for, from where one says", function()
    local client = client_with(10)
    assert.same({ 4, 5, 6, 7 }, client:threads { page_size = 3, cursor = "4", limit = 4 })
    assert.equal(3, client.asked[1].params.limit)
    assert.equal(1, client.asked[2].params.limit)
  end)

  it("ends when Codex names the same page again", function()
    local client = recorder { data = { 1 }, nextCursor = "c" }
    assert.same({ 1, 1 }, client:threads())
  end)

  it("is nothing but an error when a page fails", function()
    local client = recorder(function(_, _, n)
      if n == 2 then return nil, E.new("closed", "gone") end
      return { data = { n }, nextCursor = "c" }
    end)
    local list, err = client:threads()
    assert.is_nil(list)
    assert.equal("closed", err.kind)
  end)

  it("is gone through one by one, and no further than one goes", function()
    local client = client_with(25)
    local seen = {}
    for thread in client:each("threads", { archived = true }) do
      seen[#seen + 1] = thread
      if thread == 11 then break end
    end
    assert.equal(11, #seen)
    assert.equal(2, #client.asked)
    assert.is_true(client.asked[2].params.archived)
    for _ in client_with(0):each "threads" do error "there is none" end
  end)

  it("passes over empty pages", function()
    local client = recorder(function(_, _, n)
      return { data = n == 3 and { 3 } or {}, nextCursor = n < 4 and tostring(n) or nil }
    end)
    local seen = {}
    for thread in client:each "threads" do seen[#seen + 1] = thread end
    assert.same({ 3 }, seen)
    assert.equal(4, #client.asked)
  end)

  it("raises what goes wrong on the way", function()
    local client = recorder(function() return nil, E.new("closed", "gone") end)
    local ok, err = pcall(function()
      for _ in client:each "models" do error "there is none" end
    end)
    assert.is_false(ok)
    assert.is_true(E.is(err, "closed"))
  end)

  it("takes what its list takes", function()
    local client = recorder { data = {} }
    local thread = target(client, "thread")
    for _ in thread:each("search", "word", { page_size = 2 }) do error "there is none" end
    assert.same({ threadId = "t1", searchTerm = "word", limit = 2 }, client.asked[1].params)
  end)
end)

describe("the declarations for language servers", function()
  local file = assert(io.open "lua/codex/_meta/methods.lua")
  local text = file:read "a"
  file:close()

  -- Class to its fields, and to the class it is made from.
  local classes, bases, current = {}, {}, nil
  for line in text:gmatch "[^\n]+" do
    local name, base = line:match "^%-%-%-@class ([%w.]+):? ?(%S*)$"
    if name then
      classes[name], bases[name], current = {}, base, name
    end
    local field, said = line:match "^%-%-%-@field (%S+) (.*)"
    if field then classes[current][field] = said end
  end

  local of = {
    client = "codex.Client", fs = "codex.ClientFs", thread = "codex.Thread",
    queue = "codex.ThreadQueue",
  }

  --- The function as it must be declared, types aside.
  local function outline(row)
    local words = { "self" }
    for _, field in ipairs(helper.fields(row[2], "string")) do
      words[#words + 1] = field.name .. (field.optional and "?" or "")
    end
    return table.concat(words, " ") .. " opts?"
  end

  local function since(said) return said:match ", since ([%d.]+)$" end

  it("name every function with its arguments, and no others", function()
    local count = { ["codex.Client"] = 2, ["codex.ClientFs"] = 0, ["codex.Thread"] = 2,
      ["codex.ThreadQueue"] = 1 } -- their parts, and each
    for _, one in ipairs(rows) do
      local said = assert(classes[of[one.group]][one.name], one.called)
      local line = said:match("%((.-)%): "):gsub(": [^,]+", ""):gsub(", ", " ")
      assert.equal(outline(one.row), line, one.called)
      assert.equal(one.row.since, since(said), one.called)
      count[of[one.group]] = count[of[one.group]] + 1
    end
    for name, wanted in pairs(count) do assert.equal(wanted, #sorted(classes[name]), name) end
  end)

  it("name every option, and since when it is there", function()
    for _, one in ipairs(rows) do
      local said = classes[of[one.group]][one.name]
      local wanted = said:match "opts%?: (codex%.%w+)"
      local declared = assert(classes[wanted], wanted)
      local fields = helper.fields(one.row.options, "any")
      for _, field in ipairs(fields) do
        local about = assert(declared[field.name .. "?"], one.called .. " " .. field.name)
        assert.equal(field.since, about:match " since ([%d.]+)$", one.called .. field.name)
      end
      if #fields > 0 then assert.equal(#fields, #sorted(declared), one.called) end
      assert.equal(one.row.pages or false, wanted == "codex.ListOptions"
        or bases[wanted] == "codex.ListOptions", one.called)
    end
  end)
end)
