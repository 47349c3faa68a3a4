// A C++ program with Codex scripting inside: a host that closes itself, errors as exceptions, and a
// function of the program's that scripts call.
//
//   c++ embed_class.cpp $(pkg-config --cflags --libs codex-lua) -o embed_class && ./embed_class
#include <codex_lua.h>

#include <lua.hpp>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

class Host {
public:
  Host() {
    cx_host_options options{};
    options.size = sizeof options;
    cx_host *opened = nullptr;
    int rc = cx_host_open(&opened, &options);
    if (rc != 0) throw std::runtime_error(cx_err_text(rc));
    host.reset(opened);
  }

  void offer(const char *name, lua_CFunction open) {
    if (cx_host_register(host.get(), name, open) != 0) throw std::runtime_error(error());
  }

  // The exit code; what could not be loaded is an exception.
  int run(const std::string &code) {
    int rc = cx_host_run_string(host.get(), code.c_str(), "=script", 0, nullptr);
    if (rc < 0) throw std::runtime_error(error());
    return rc;
  }

  std::string error() const { return cx_host_error(host.get()); }

private:
  struct Close {
    void operator()(cx_host *h) const { cx_host_close(h); }
  };
  std::unique_ptr<cx_host, Close> host;
};

// No exception may leave such a function, and no Lua error may cross one that holds objects.
static int shout(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t i = 0; i < n; i++) luaL_addchar(&b, char(std::toupper(static_cast<unsigned char>(text[i]))));
  luaL_pushresult(&b);
  return 1;
}

static int open_shout(lua_State *L) {
  lua_pushcfunction(L, shout);
  return 1;
}

int main() {
  try {
    Host host;
    host.offer("shout", open_shout);
    int code = host.run("local codex, shout = require 'codex', require 'shout'\n"
                        "local child = assert(codex.proc.run { 'echo', 'hello' })\n"
                        "print(shout(child.stdout:match '%w+')) io.stdout:flush()\n"
                        "os.exit(7)");
    std::cout << "exit code " << code << std::endl;
    host.run("this is no Lua");
  } catch (const std::exception &e) {
    std::cout << "error: " << e.what() << std::endl;
    return 0;
  }
  return 1;
}
