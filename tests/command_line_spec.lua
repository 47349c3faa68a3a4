--- Codex's command line as the launcher reads it, against the help of three real versions and what
--- they make of the words.

local command_line = require "codex.cli.command_line"
local flags = require "codex.flags"
local peers = require "tests.support.peers"

local home = peers.home "command-line"
local names = { "latest", "middle", "old" }

local function help_of(name, ...)
  local stdout, code = peers.run(name, { ... }, home)
  return code == 0 and stdout or ""
end

local function no_help() return "" end

local function read(words, get_help)
  return command_line.read(words, get_help or no_help)
end

local function refused(words, problem)
  local line, found = read(words)
  assert.is_nil(line, problem)
  assert.truthy(found:find(problem, 1, true), found)
end

describe("the tables", function()
  for _, name in ipairs(names) do
    it("have every option and command of Codex " .. peers.version[name], function()
      local root = command_line.read_help(help_of(name, "--help"))
      local own = command_line.read_help(help_of(name, "app-server", "--help"))
      assert.equal("values", root["--image"])
      assert.equal("value", own["--listen"])
      for flag, kind in pairs(own) do assert.equal(kind, command_line.app_server[flag], flag) end
      -- Of each a word that would be the command, if the option took none.
      for flag, kind in pairs(root) do
        local asks = flag == "--help" or flag == "--version"
        local line = read { flag, "app-server", "--stdio" }
        assert.equal(not asks and kind == "boolean", line ~= nil and line.is_app_server, flag)
      end
      local commands = help_of(name, "--help"):match "Commands:(\n.-\n)\n"
      for command in commands:gmatch "\n  (%l[%l-]+)  " do
        assert.is_true(command_line.commands[command], command)
      end
    end)

    it("say of words what Codex " .. peers.version[name] .. " says of them", function()
      local cases = {
        { "-m", "X", "app-server" }, { "-cmodel=x", "app-server" }, { "-c=model=x", "app-server" },
        { "--config", "model=x", "app-server" }, { "-i", "a.png", "app-server" },
        { "-i", "a.png", "-m", "x", "app-server" }, { "--image=a.png", "app-server" },
        { "-ia.png", "app-server" }, { "--yolo", "app-server" }, { "-m", "X", "exec" },
        { "-c", "a=1", "exec" }, { "--profile", "p", "exec" }, { "exec", "app-server" },
        { "--add-dir", "a", "app-server" }, { "-m=app-server" },
      }
      for _, words in ipairs(cases) do
        local line = assert(read(words))
        local text = help_of(name, table.unpack(table.move({ "--help" }, 1, 1, #words + 1,
          { table.unpack(words) })))
        local is = text:find("Usage: codex app-server", 1, true) ~= nil
        assert.equal(is, line.is_app_server, table.concat(words, " "))
      end
    end)
  end
end)

describe("what cannot be read", function()
  it("is an error that names it", function()
    for problem, words in pairs {
      ["'--lis' is no option of `codex app-server`"] = { "app-server", "--lis", "stdio://" },
      ["'--new' is no option of `codex`"] = { "--new", "app-server" },
      ["'-x' is no option"] = { "-x", "app-server" },
      ["'--config' needs a value"] = { "app-server", "-c", "--listen=off" },
      ["'--yolo' takes no value"] = { "--yolo=1", "app-server" },
      ["'hello' stands before app-server"] = { "hello", "app-server" },
      ["'--' stands before app-server"] = { "--", "app-server" },
      ["'new' is no command of `codex app-server`"] = { "app-server", "new" },
    } do
      refused(words, problem)
    end
  end)

  it("is looked up in the help of the Codex at hand", function()
    local function get_help() return "Options:\n      --new <WORD>\n          Something new\n" end
    assert.is_true(read({ "--new", "exec", "app-server" }, get_help).is_app_server)
    assert.is_false(read({ "--new", "app-server", "exec" }, get_help).is_app_server)
  end)
end)

describe("what would serve others beside us", function()
  it("is an error that names it", function()
    for problem, words in pairs {
      ["--listen ws://127.0.0.1:1"] = { "app-server", "--listen", "ws://127.0.0.1:1" },
      ["--listen off"] = { "-m", "x", "app-server", "--listen=off" },
      ["--listen unix://:"] = { "app-server", "--listen=unix://" },
      ["--remote-control"] = { "app-server", "--remote-control" },
      ["--ws-auth"] = { "app-server", "--ws-auth", "capability-token" },
      ["app-server proxy"] = { "app-server", "proxy" },
      ["app-server daemon"] = { "app-server", "-c", "a=1", "daemon", "start" },
      ["codex remote-control"] = { "remote-control" },
      ["remote_control"] = { "--enable", "remote_control", "app-server" },
      ["features.remote_control"] = { "app-server", "-c", "features.remote_control=true" },
    } do
      refused(words, problem)
    end
  end)

  it("is taken over where we can serve them", function()
    local line = read { "app-server", "--listen", "unix:///a b", "-c", "a=1", "--stdio" }
    assert.same({ "unix:///a b" }, line.listen)
    assert.same({ "app-server", "-c", "a=1" }, line.words)
  end)

  it("is none of what serves nobody", function()
    for _, words in ipairs {
      { "app-server", "generate-ts", "--out", "x" }, { "app-server", "daemon", "stop" },
      { "app-server", "--help" }, { "-V" }, { "login" }, { "a prompt" }, { "-m", "x", "a prompt" },
      { "app-server", "--print-startup-config" },
    } do
      local line = assert(read(words))
      assert.is_false(line.is_app_server)
      assert.same(words, line.words)
    end
  end)
end)

describe("options alone", function()
  it("are those of an app-server, or of Codex's interface", function()
    assert.same({ "app-server", "-c", "a=1" }, read({ "-c", "a=1" }).words)
    assert.is_false(read({ "-m", "x" }).is_app_server)
    assert.is_false(read({ "-i", "x", "app-server" }).is_app_server)
    assert.same({ "app-server" }, read({}).words)
  end)
end)

describe("under --strict", function()
  it("what could take decisions away from policies is an error that names it", function()
    for problem, words in pairs {
      ["--config approval_policy=never"] = { "-c", "approval_policy=never", "app-server" },
      ["--config approval_policy=\"never\""] = { "app-server", "-c", 'approval_policy="never"' },
      ["--config sandbox_mode"] = { "app-server", "--config=sandbox_mode='danger-full-access'" },
      ["--config sandbox_workspace_write"] =
        { "app-server", "-c", "sandbox_workspace_write.network_access=true" },
      ["--config approvals_reviewer"] = { "app-server", "-c", "approvals_reviewer=auto_review" },
      ["--config \"approval_policy\""] = { "app-server", "-c", '"approval_policy"=on-request' },
      ["--config mcp_servers"] = { "app-server", "-c", "mcp_servers={}" },
      ["--config model=[1]"] = { "app-server", "-c", "model=[1]" },
      ["--config model"] = { "app-server", "-c", "model" },
      ["--sandbox danger-full-access"] = { "-s", "danger-full-access", "app-server" },
      ["--ask-for-approval never"] = { "-a", "never", "app-server" },
      ["--yolo"] = { "--yolo", "app-server" },
      ["--dangerously-bypass-hook-trust"] = { "--dangerously-bypass-hook-trust", "app-server" },
      ["--approve-for-me"] = { "--approve-for-me", "app-server" },
      ["--full-auto"] = { "--full-auto", "app-server" },
      ["--profile p"] = { "-p", "p", "app-server" },
      ["--enable x"] = { "app-server", "--enable", "x" },
      ["--add-dir /"] = { "--add-dir", "/", "app-server" },
      ["--code-mode-host"] = { "app-server", "--code-mode-host", "x" },
    } do
      local found = command_line.strict_problem(assert(read(words, function()
        return "      --full-auto\n"
      end)))
      assert.truthy(found, problem)
      assert.truthy(found:find(problem, 1, true), found)
    end
  end)

  it("the rest is none", function()
    assert.is_nil(command_line.strict_problem(read {
      "-m", "x", "-s", "read-only", "-a", "on-request", "-c", "model=x", "-c",
      'approval_policy="on-request"', "app-server", "--listen", "stdio://",
      "--analytics-default-enabled", "-c", "model_reasoning_effort=high",
    }))
  end)

  it("knows the hidden options", function()
    for _, hidden in ipairs(flags.hidden) do
      assert.is_true(read({ hidden.flag, "app-server" }).is_app_server)
    end
  end)
end)
