--- The library as others link it: what it offers, and that it needs nothing else of its program.

local files = require "codex.files"
local host = require "codex.core.host"
local proc = require "codex.proc"
local program = require "tests.support.program"

local build = host.program:match "^(.*)/"

local function output(...)
  local result = assert(proc.run { ... })
  assert.equal(0, result.code, result.stderr)
  return result.stdout
end

--- The names of symbols that a file offers, or needs, in order.
local function symbols(path, which)
  local list = {}
  for name in output("nm", "-D", "--" .. which .. "-only", path):gmatch "%s%a ([%w_]+)[^\n]*\n" do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

--- A program that has names of ours itself, opens the library so that nobody else sees it, and runs
--- a script in it.
local hijacker = [[
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include "codex_lua.h"

const char _binary_json_luac_start[] = "no", _binary_json_luac_end[] = "no";
int cx_buf_add(void) { return puts("hijacked"); }
void *cx_bind_env(void) { puts("hijacked"); return 0; }

int main(int argc, char **argv) {
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (!library) return puts(dlerror());
  int (*open)(cx_host **, const cx_host_options *) = dlsym(library, "cx_host_open");
  int (*run)(cx_host *, const char *, const char *, int, char **) =
      dlsym(library, "cx_host_run_string");
  int (*close)(cx_host *) = dlsym(library, "cx_host_close");
  const char *(*version)(void) = dlsym(library, "cx_version");
  if (argc > 5) signal(SIGCHLD, SIG_IGN);
  cx_host *host;
  cx_host_options options = {.size = sizeof options, .data_dir = argv[2], .module_dir = argv[3]};
  if (open(&host, &options) != 0) return 3;
  int code = run(host, argv[4], "=script", 0, NULL);
  printf("%s %d %d\n", version(), code, close(host));
  return 0;
}
]]

describe("libcodexlua.so", function()
  it("offers what its header says, and nothing else", function()
    local declared, header = {}, assert(files.read "host/codex_lua.h"):gsub("/%*.-%*/", "")
    for name in header:gmatch "%f[%w_](cx_[%w_]+)%(" do declared[#declared + 1] = name end
    table.sort(declared)
    assert.same(declared, symbols(build .. "/libcodexlua.so", "defined"))
    assert.is_true(#declared > 10)
  end)

  it("has every code that its header names, in C and in C++", function()
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    local header, lines = assert(files.read "host/codex_lua.h"), {}
    for name in header:gmatch "CX_(E%u+)" do
      local line = 'if (strcmp(cx_err_name(CX_%s), "%s") != 0) return 1;'
      lines[#lines + 1] = line:format(name, name)
    end
    assert.is_true(#lines > 20)
    local text = "#include <codex_lua.h>\n#include <string.h>\n"
      .. "int main(void) {\n%s\nreturn 0;\n}\n"
    for compiler, suffix in pairs { ["cc -std=c99"] = "c", ["c++ -std=c++11"] = "cpp" } do
      program.write(folder .. "/codes." .. suffix, text:format(table.concat(lines, "\n")))
      output("sh", "-c", compiler .. ' -Wall -Wextra -Werror -pedantic -Ihost -o "$1/codes" '
        .. '"$1/codes.$2" -L"$0" -lcodexlua -Wl,-rpath,"$0" '
        .. '$(grep -o -e "-fsanitize=[^ ]*" "$0/flags" | sort -u) && "$1/codes"',
        build, folder, suffix)
    end
  end)

  it("has its name, with the version of its interface, inside", function()
    local text = output("readelf", "-d", build .. "/libcodexlua.so")
    assert.matches("%(SONAME%)[^\n]*%[libcodexlua%.so%.0%]", text)
  end)

  --- Runs a script in a program that was compiled for it.
  local function embedded(script, ...)
    local folder, remove = program.folder()
    local guard <close> = setmetatable({}, { __close = remove }) -- luacheck: ignore 211
    program.write(folder .. "/program.c", hijacker)
    output("sh", "-c", '$(cat "$0/flags") -Wno-pedantic -Wno-missing-prototypes '
      .. '-Wno-unused-parameter -o "$1/program" "$1/program.c" -rdynamic -ldl', build, folder)
    return output(folder .. "/program", build .. "/libcodexlua.so", host.data_dir, build .. "/lib",
      script, ...)
  end

  it("runs a script, and all modules, where the program sees none of it", function()
    local text = embedded [[
      for _, name in ipairs { "http", "httpd", "ws", "edit" } do require("codex.core." .. name) end
      local codex, json = require "codex", require "codex.json"
      assert(codex.proc.run { "true" }.code == 0)
      print(json.encode { 1, json.null })
      codex.sleep(0.001)
      os.exit(7)]]
    assert.equal(("[1,null]\n%s 7 0\n"):format(host.version), text)
  end)

  it("runs Codex where the program ignores SIGCHLD, and nobody knows how children end", function()
    local script = ([[
      local codex = require "codex"
      assert(codex.proc.run { "true" }.unknown)
      local turn = assert(codex.with { binary = "%s", home = "%s" }.exec "do it")
      assert(#turn.final_message > 0 and turn.exit_code == -1)
      local ok, err = codex.with({ binary = "%s" }).run { "nonsense" }
      print(err and err.message)
      os.exit(8)]])
    local codex = require("tests.support.replay").fixture("0.169.0-command").path
    local home = require("tests.support.peers").home "library"
    local text = embedded(script:format(codex, home, codex), "ignore")
    assert.matches(" 8 0\n$", text)
    assert.is_nil(text:find("%-1"))
  end)
end)

describe("what is built", function()
  local all = { build .. "/codex-lua", build .. "/libcodexlua.so" }
  for _, name in ipairs { "http", "httpd", "ws", "edit" } do
    all[#all + 1] = ("%s/lib/codex/core/%s.so"):format(build, name)
  end

  it("can be anywhere in memory, and has its tables read-only", function()
    for _, path in ipairs(all) do
      local text = output("readelf", "-W", "-h", "-l", "-d", path)
      assert.matches("Type:%s+DYN", text, path)
      assert.matches("GNU_RELRO", text, path)
      assert.matches("FLAGS_1%)%s+Flags: [^\n]*NOW", text, path)
      assert.is_nil(text:match "GNU_STACK[^\n]* RWE ", path)
    end
  end)

  it("has its stack watched in every file, and the sizes of what is written to", function()
    for _, path in ipairs(all) do
      local producers = output("sh", "-c",
        "readelf --debug-dump=info '" .. path .. "' | grep DW_AT_producer")
      for line in producers:gmatch "[^\n]+" do
        local is_watched = line:find("-fstack-protector-strong", 1, true)
        assert.truthy(is_watched or not line:find "GNU C%d", line) -- a sanitizer is in C++
      end
      local needed = table.concat(symbols(path, "undefined"), " ")
      assert.matches("__stack_chk_fail", needed, 1, true)
      -- The other two call nothing whose size could be looked at.
      local is_checked = build:find "/build$" and not path:find "/edit.so$"
        and not path:find "/httpd.so$"
      if is_checked then assert.matches("printf_chk", needed, 1, true) end
    end
  end)
end)

describe("what is built", function()
  it("reads JSON itself", function()
    for _, name in ipairs { "codex-lua", "libcodexlua.so", "lib/codex/core/http.so" } do
      local path = build .. "/" .. name
      assert.is_nil(output("readelf", "-W", "-d", path):find("cjson", 1, true), name)
      assert.is_nil(table.concat(symbols(path, "undefined"), " "):find "cJSON_", name)
    end
  end)
end)

describe("a loadable module", function()
  for _, name in ipairs { "http", "httpd", "ws", "edit" } do
    it("offers one function, and needs nothing of the program but Lua: " .. name, function()
      local path = ("%s/lib/codex/core/%s.so"):format(build, name)
      assert.same({ "luaopen_codex_core_" .. name }, symbols(path, "defined"))
      for _, needed in ipairs(symbols(path, "undefined")) do
        assert.is_nil(needed:find "^cx_", needed)
      end
    end)
  end
end)
