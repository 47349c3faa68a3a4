-- The flag table against the help of the real Codex programs, and how options become arguments.

local flags = require "codex.flags"
local peers = require "tests.support.peers"

local names = { "latest", "middle", "old" }

local function sorted(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  table.sort(list)
  return list
end

local commands = sorted(flags.commands)

-- The arguments as one line, or the message when there are none.
local function line(...)
  local argv, problem = flags.argv(...)
  return argv and table.concat(argv, " ") or problem.message
end

local function raised(...)
  local ok, message = pcall(flags.argv, ...)
  assert.is_false(ok)
  return message
end

-- One value of the right kind for a row, so that every row can be sent to a real program.
local function example(row)
  if row.kind == "boolean" then return true end
  if row.kind == "config" then return { ["a.b"] = "x=y" } end
  if row.kind == "list" then return { "-x", "y z" } end
  return row.kind == "choice" and row.values[1] or "-value"
end

for _, name in ipairs(names) do
  local version = peers.version[name]

  describe("real Codex " .. version, function()
    local home = peers.home("flags-" .. name)

    -- The help that this argument list leads to: exit code 0 only when everything before parses.
    local function help(argv)
      argv[#argv + 1] = "--help"
      local out, code, err = peers.run(name, argv, home)
      return code == 0 and out or nil, err
    end

    for _, command in ipairs(commands) do
      local words = flags.argv(command, {}, version)
      local title = "codex " .. command

      if not words then
        it("has no `" .. title .. "`", function()
          local asked = {}
          for word in command:gmatch "%S+" do asked[#asked + 1] = word end
          local _, answered = flags.parse_help(assert(help(asked)))
          assert.not_equal(command, answered)
        end)
      else
        it("lists for `" .. title .. "` exactly the flags the table has", function()
          local real, answered = flags.parse_help(assert(help(words)))
          assert.equal(table.concat(flags.argv(command, {}, version), " "), answered)
          real["--help"], real["--version"] = nil, nil
          local ours = {}
          for _, row in ipairs(flags.commands[command]) do
            local argv = flags.argv(command, { [row.option] = example(row) }, version)
            -- A flag that goes in front of the subcommand is not one of the subcommand.
            local last = argv and argv[#argv] or ""
            if last:match "^%-%-[%w-]+" == row.flag then ours[row.flag] = true end
          end
          assert.same(sorted(real), sorted(ours))
        end)

        it("parses every option of `" .. title .. "` as it is written", function()
          for option in pairs(flags.options(command)) do
            local row
            for _, around in ipairs { command, "exec" } do
              for _, each in ipairs(flags.commands[around]) do
                if not row and each.option == option then row = each end
              end
            end
            local argv = row and flags.argv(command, { [option] = example(row) }, version)
            if argv then
              local out, err = help(argv)
              assert(out, table.concat(argv, " ") .. "\n" .. err)
              local _, answered = flags.parse_help(out)
              assert.equal(table.concat(flags.argv(command, {}, version), " "), answered)
            end
          end
        end)
      end
    end

    it("accepts the hidden flags, which no help has", function()
      for _, hidden in ipairs(flags.hidden) do
        for _, command in ipairs(hidden.commands) do
          local argv = flags.argv(command, {}, version)
          if argv then
            argv[#argv + 1] = hidden.flag
            local out, err = help(argv)
            local listed, answered = flags.parse_help(assert(out, err))
            assert.equal(command, answered)
            assert.is_nil(listed[hidden.flag])
            assert.is_true(listed[hidden.instead])
          end
        end
      end
    end)

    it("refuses a flag it does not know, so that the checks above can fail", function()
      local out, err = help { "exec", "--no-such-flag" }
      assert.is_nil(out)
      assert.truthy(err:find("--no-such-flag", 1, true))
      assert.is_nil((help { "exec", "resume", "--sandbox=read-only" }))
      assert.is_nil((help { "exec", "--sandbox=no-such-mode" }))
    end)
  end)
end

describe("flags.parse_help", function()
  it("reads flags with and without a short form, and not those in descriptions", function()
    local set, command = flags.parse_help [[
Does things. See --elsewhere.

Usage: codex exec resume [OPTIONS] [SESSION_ID]

Options:
  -c, --config <key=value>
          Like --other, and
          --wrapped at the start of a line
      --last
      --local-provider <OSS_PROVIDER>  Same line
  -h, --help  Print help (see more with '--help')
]]
    assert.same({ ["--config"] = true, ["--last"] = true, ["--local-provider"] = true,
      ["--help"] = true }, set)
    assert.equal("exec resume", command)
  end)

  it("tells the help of the program from that of a command, and from other text", function()
    assert.equal("", select(2, flags.parse_help "Usage: codex [OPTIONS] [PROMPT]\n"))
    assert.same({}, (flags.parse_help "error: no"))
    assert.is_nil(select(2, flags.parse_help "error: no"))
  end)
end)

describe("flags.options", function()
  it("has the names, the aliases and what stands before a subcommand", function()
    local set = flags.options "exec resume"
    for _, name in ipairs { "json", "cwd", "cd", "images", "image", "yolo", "sandbox", "last" } do
      assert.is_true(set[name], name)
    end
    assert.is_nil(set.uncommitted)
    assert.is_nil(set.prompt)
  end)

  it("does not offer images for a review, where Codex would drop them", function()
    assert.is_nil(flags.options("exec review").images)
    assert.is_nil(flags.options("exec review").image)
    assert.is_true(flags.options("exec fork").image)
  end)

  it("raises on an unknown command", function()
    assert.has_error(function() flags.options "exce" end)
  end)
end)

describe("flags.argv", function()
  it("writes values behind '=' and repeats lists, in a fixed order", function()
    local options = {
      json = true, images = { "a b.png", "-c.png" }, cwd = "/x", enable = "web", oss = false,
      config = { b = { c = true }, a = 'q"' }, add_dir = {}, sandbox = "future-mode",
    }
    assert.same({
      "exec", '--config=a="q\\""', "--config=b.c=true", "--enable=web", "--sandbox=future-mode",
      "--cd=/x", "--image=a b.png", "--image=-c.png", "--json",
    }, (flags.argv("exec", options, "0.169.0")))
  end)

  it("takes raw settings as they are", function()
    assert.equal("exec --config=z=1 --config=a=b=c",
      line("exec", { config = { "z=1", "a=b=c" } }))
  end)

  it("knows aliases, and refuses both names at once", function()
    assert.equal("exec --dangerously-bypass-approvals-and-sandbox --cd=/x --image=i",
      line("exec", { cd = "/x", image = "i", yolo = true }))
    assert.equal("codex.exec: options 'cd' and 'cwd' are the same; give one",
      raised("exec", { cd = "/x", cwd = "/x" }))
  end)

  it("leaves names that are no flags to the caller", function()
    assert.equal("exec --json", line("exec", { json = true, prompt = "p", timeout = 3 }))
  end)

  it("gives the words of a command alone when there are no options", function()
    assert.same({}, (flags.argv("", {})))
    assert.same({ "features", "enable" }, (flags.argv("features enable", {})))
    assert.same({ "exec", "review" }, (flags.argv("exec review", nil, "0.100.0")))
  end)

  it("puts what only `exec` has before its subcommand", function()
    assert.equal("exec --sandbox=read-only --cd=/x --add-dir=/y resume --model=m --json",
      line("exec resume", { sandbox = "read-only", cwd = "/x", add_dir = "/y", model = "m",
        json = true }))
    assert.equal("exec --profile=p review --uncommitted",
      line("exec review", { profile = "p", uncommitted = true }))
  end)

  it("moves a flag before the subcommand where the subcommand does not have it yet", function()
    local options = { output_last_message = "f", json = true }
    assert.equal("exec --output-last-message=f resume --json",
      line("exec resume", options, "0.100.0"))
    assert.equal("exec resume --output-last-message=f --json",
      line("exec resume", options, "0.120.0"))
  end)

  it("names the option, the flag and the versions when a version lacks it", function()
    local argv, problem = flags.argv("exec", { worktree = true }, "0.153.4")
    assert.is_nil(argv)
    assert.same({
      option = "worktree", flag = "--worktree", version = "0.153.4", since = "0.169.0",
      message = "option 'worktree' (--worktree) is not in Codex 0.153.4; " ..
        "it exists since 0.169.0",
    }, problem)
    assert.equal("exec", line("exec", { worktree = false }, "0.153.4"))
  end)

  it("refuses a command the version would take for a prompt", function()
    local argv, problem = flags.argv("exec fork", {}, "0.100.0")
    assert.is_nil(argv)
    assert.same({
      command = "exec fork", version = "0.100.0", since = "0.153.0",
      message = "command 'exec fork' is not in Codex 0.100.0; it exists since 0.153.0",
    }, problem)
  end)

  it("is permissive between the versions that were looked at", function()
    assert.equal("exec --worktree", line("exec", { worktree = true }, "0.160.0"))
    assert.equal("exec --strict-config", line("exec", { strict_config = true }, "0.120.1"))
    assert.is_nil((flags.argv("exec", { strict_config = true }, "0.120.0")))
    assert.is_nil((flags.argv("exec", { strict_config = true }, "0.99.0")))
    -- ... but prefers the place that is sure.
    assert.equal("exec --output-last-message=f resume",
      line("exec resume", { output_last_message = "f" }, "0.110.0"))
  end)

  it("takes an unknown version and a build from source for the newest", function()
    for _, version in ipairs { "0.0.0", "0.170.0-alpha.1", "1.0.0" } do
      assert.equal("exec --worktree", line("exec", { worktree = true }, version))
    end
    assert.equal("exec --worktree", line("exec", { worktree = true }))
    assert.has_error(function() flags.argv("exec", {}, "newest") end)
  end)

  it("says --full-auto with other flags where it is gone, and notes it", function()
    local argv, problem, notes = flags.argv("exec", { full_auto = true }, "0.169.0")
    assert.same({ "exec", "--sandbox=workspace-write" }, argv)
    assert.is_nil(problem)
    assert.same({ "option 'full_auto' (--full-auto) is not in Codex 0.169.0; it is gone since " ..
      "0.140.0; --sandbox=workspace-write is used instead" }, notes)
    assert.equal("exec --sandbox=workspace-write resume", line("exec resume", { full_auto = true }))
    assert.equal("--sandbox=workspace-write --ask-for-approval=on-request",
      line("", { full_auto = true }))
    assert.same({ "exec", "--full-auto" }, (flags.argv("exec", { full_auto = true }, "0.100.0")))
    assert.same({}, (select(3, flags.argv("exec", { full_auto = true }, "0.100.0"))))
  end)

  it("never lets full_auto widen a sandbox that was asked for", function()
    for _, version in ipairs { "0.169.0", "0.100.0" } do
      local options = { full_auto = true, sandbox = "read-only" }
      local argv, _, notes = flags.argv("exec", options, version)
      assert.same({ "exec", "--sandbox=read-only" }, argv)
      assert.equal(1, #notes)
    end
    assert.truthy(raised("exec", { full_auto = true, yolo = true }):find("exclude each other"))
  end)

  it("knows both spellings of the permission profile", function()
    assert.equal("sandbox --permissions-profile=p",
      line("sandbox", { permission_profile = "p" }, "0.140.0"))
    assert.equal("sandbox --permission-profile=p",
      line("sandbox", { permissions_profile = "p" }, "0.169.0"))
    assert.is_nil((flags.argv("sandbox", { permission_profile = "p" }, "0.100.0")))
  end)

  it("names the system where `codex sandbox` wants it", function()
    assert.equal("sandbox linux --full-auto", line("sandbox", { full_auto = true }, "0.100.0"))
    assert.equal("sandbox --cd=/x", line("sandbox", { cwd = "/x" }, "0.140.0"))
    assert.is_nil((flags.argv("sandbox", { full_auto = true }, "0.140.0")))
  end)

  it("believes the program's own help more than the table", function()
    local probed = { ["--json"] = true, ["--worktree"] = true, ["--sandbox"] = true }
    assert.equal("exec --worktree", line("exec", { worktree = true }, "0.153.4", probed))
    assert.equal("option 'ephemeral' (--ephemeral) is not in Codex 0.169.0; its help does not " ..
      "list it", line("exec", { ephemeral = true }, "0.169.0", probed))
    assert.equal("exec --sandbox=workspace-write",
      line("exec", { full_auto = true }, "0.100.0", probed))
    assert.equal("exec --ephemeral", line("exec", { ephemeral = true }, "0.169.0", {}))
  end)

  it("takes the help of the command around a subcommand as well", function()
    local own = { ["--json"] = true }
    assert.equal("exec --ephemeral resume --json",
      line("exec resume", { ephemeral = true, json = true }, nil, own))
    local both = { ["exec resume"] = own, exec = { ["--sandbox"] = true } }
    assert.equal("exec --sandbox=read-only resume --json",
      line("exec resume", { sandbox = "read-only", json = true }, nil, both))
    assert.is_nil((flags.argv("exec resume", { ephemeral = true }, nil, both)))
  end)

  it("raises on values of the wrong type, naming the option as it was given", function()
    for _, case in ipairs {
      { "ephemeral", "yes", "must be a boolean, got string" },
      { "model", 5, "must be a string, got number" },
      { "cd", true, "must be a string, got boolean" },
      { "sandbox", {}, "must be a string, got table" },
      { "model", "a\0b", "must be a string, got one with a NUL byte" },
      { "image", 1, "must be a string or a list of strings, got number" },
      { "images", { 1 }, "must be a string or a list of strings, got a table of another shape" },
      { "images", { "a", x = "b" },
        "must be a string or a list of strings, got a table of another shape" },
      { "config", "a=1", "must be a table or a list of 'key=value' strings, got string" },
      { "config", { "a" },
        "must be a table or a list of 'key=value' strings, got a table of another shape" },
      { "config", { "a=1", b = 2 },
        "must be a table or a list of 'key=value' strings, got a table of another shape" },
    } do
      assert.equal(("codex.exec: option '%s' %s"):format(case[1], case[3]),
        raised("exec", { [case[1]] = case[2] }))
    end
    assert.equal("codex: option 'search' must be a boolean, got number",
      raised("", { search = 1 }))
    assert.equal("codex.exec: option 'config': config.a.b: a function cannot be written as TOML",
      raised("exec", { config = { a = { b = print } } }))
  end)
end)

describe("the declarations for language servers", function()
  it("name every option of exec", function()
    local text = ""
    for _, name in ipairs { "lua/codex/_meta/flags.lua", "lua/codex/exec.lua" } do
      local file = assert(io.open(name))
      text = text .. file:read "a"
      file:close()
    end
    local by_us = { json = true, color = true } -- always given, so that events can be read
    for _, row in ipairs(flags.commands.exec) do
      local field = "---@field " .. row.option .. "? "
      assert.equal(not by_us[row.option], text:find(field, 1, true) ~= nil, row.option)
    end
  end)
end)
