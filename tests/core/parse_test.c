/* JSON to Lua: what each text becomes, also in memory that ends with it and cut at every byte; and
 * every allocation of a reading fails once. */
#include "parse.h"

#include <lauxlib.h>
#include <lualib.h>

#include "err.h"
#include "modules.h"
#include "test.h"

/* A notation of our own, which tells apart whatever Lua does: names are sorted, duplicates follow,
 * integers are 1, floats 0x1p+0, what is larger #1, strings '..' with <XX> for odd bytes. */
static const char dumper[] =
    "local json = ...\n"
    "local array = getmetatable(json.array())\n"
    "local function text(s)\n"
    "  return \"'\" .. s:gsub('[^ -~]', function(c) return ('<%02X>'):format(c:byte()) end) .. "
    "\"'\"\n"
    "end\n"
    "local dump\n"
    "local function object(value)\n"
    "  local parts, names = {}, {}\n"
    "  for name in pairs(value) do names[#names + 1] = name end\n"
    "  table.sort(names)\n"
    "  for i, name in ipairs(names) do parts[i] = text(name) .. ':' .. dump(value[name]) end\n"
    "  for _, pair in ipairs(json.duplicates(value) or {}) do\n"
    "    parts[#parts + 1] = '+' .. text(pair[1]) .. ':' .. dump(pair[2])\n"
    "  end\n"
    "  return '{' .. table.concat(parts, ',') .. '}'\n"
    "end\n"
    "function dump(value)\n"
    "  if value == json.null then return 'null' end\n"
    "  if math.type(value) == 'float' then return ('%a'):format(value) end\n"
    "  if type(value) == 'string' then return text(value) end\n"
    "  if type(value) ~= 'table' then return tostring(value) end\n"
    "  local mark = getmetatable(value)\n"
    "  if mark and mark.__name == 'codex.json.number' then return '#' .. tostring(value) end\n"
    "  if mark ~= array then return object(value) end\n"
    "  local parts = {}\n"
    "  for i, item in ipairs(value) do parts[i] = dump(item) end\n"
    "  return '[' .. table.concat(parts, ',') .. ']'\n"
    "end\n"
    "return dump\n";

/* A state with the module, and the function that dumps on its stack. */
static lua_State *open_state(lua_Alloc alloc, void *user) {
  lua_State *L = lua_newstate(alloc, user);
  if (!L) abort();
  luaL_openlibs(L);
  if (luaL_loadbuffer(L, dumper, sizeof dumper - 1, "=dumper") != LUA_OK) abort();
  luaopen_codex_core_json(L);
  lua_call(L, 1, 1);
  return L;
}

/* ---- Values --------------------------------------------------------------------------------- */

static const struct {
  const char *text, *expected; /* NULL: refused */
} cases[] = {
    {"null", "null"},
    {" [1 , 2.5,-3, true ,false]\r\n\t ", "[1,0x1.4p+1,-3,true,false]"},
    {"{\"A\":1,\"a\":2}", "{'A':1,'a':2}"},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "'\"\\/<08><0C><0A><0D><09>'"},
    {"[[],{},\"\"]", "[[],{},'']"},
    /* NUL and surrogates, in names too */
    {"\"a\\u0000b\"", "'a<00>b'"},
    {"{\"\\u0000\":\"\\u0000\\u0000\",\"\\u0000\\u0000\":2}", "{'<00>':'<00><00>','<00><00>':2}"},
    {"\"\\ud83d\\ude00\\ud800\\u0000\"", "'<F0><9F><98><80><ED><A0><80><00>'"},
    {"{\"\\udfff\":1}", "{'<ED><BF><BF>':1}"},
    /* numbers */
    {"[0,-0,-0.0,1e3,-1E-2,0e999]", "[0,0,0,1000,-0x1.47ae147ae147bp-7,0]"},
    {"[123456789012345678,1234567890123456789]", "[123456789012345678,1234567890123456789]"},
    {"[9223372036854775807,-9223372036854775808]", "[9223372036854775807,-9223372036854775808]"},
    {"[9223372036854775808,-9223372036854775809]", "[#9223372036854775808,#-9223372036854775809]"},
    {"[9007199254740992.0,9007199254740993e0,9007199254740994.0]",
     "[9007199254740992,9007199254740992,0x1.0000000000001p+53]"},
    {"[1e999,-1e999,1e-999,5e-324]", "[inf,-inf,0,0x0.0000000000001p-1022]"},
    {"0.1000000000000000055511151231257827021181583404541015625", "0x1.999999999999ap-4"},
    {"1.00000000000000000000000000000000000000000000000000000000000000000000000", "1"},
    /* of equal names the first counts, however they are written */
    {"{\"a\":1,\"b\":2,\"a\":3,\"\\u0061\":null,\"c\":4}", "{'a':1,'b':2,'c':4,+'a':3,+'a':null}"},
    {"{\"a\":{\"b\":1,\"b\":[]},\"a\":{}}", "{'a':{'b':1,+'b':[]},+'a':{}}"},
    {"[", NULL},
    {"{\"a\":[1,{\"b\":\"x", NULL},
    {"{\"a\":1,\"a\":2", NULL},
    {"{\"a\":1,\"a\":2,}", NULL},
    {"[\"\\u0000\",nul]", NULL},
    {"\"\xFF\"", NULL},
    {"[1]\v", NULL},
};

static int parse(lua_State *L, const char *text, size_t n, cx_fault *fault) {
  char *own = exactly(text, n);
  int top = lua_gettop(L), rc = cx_parse_json(L, own, n, 1 << 20, fault);
  CHECK(lua_gettop(L) == top + (rc == 0), "%d values more of %.40s", lua_gettop(L) - top, text);
  CHECK((rc == 0) == (fault->what == NULL) && fault->at <= n, "the fault of %.40s", text);
  free(own);
  return rc;
}

static void check_dump(lua_State *L, const char *text, const char *expected) {
  lua_pushvalue(L, 1);
  lua_insert(L, -2);
  lua_call(L, 1, 1);
  CHECK(strcmp(lua_tostring(L, -1), expected) == 0, "%s is %s", text, lua_tostring(L, -1));
  lua_pop(L, 1);
}

static void test_case(lua_State *L, size_t index) {
  const char *text = cases[index].text, *expected = cases[index].expected;
  cx_fault fault;
  int rc = parse(L, text, strlen(text), &fault);
  CHECK(rc == (expected ? 0 : CX_EJSON), "%s: %d", text, rc);
  if (rc == 0) check_dump(L, text, expected ? expected : "");
  for (size_t cut = 0; cut < strlen(text); cut++)
    if (parse(L, text, cut, &fault) == 0) lua_pop(L, 1);
}

/* Objects and arrays of every size around what is held, and of more names than all may hold. */
static void test_sizes(lua_State *L) {
  for (int n = 0; n < 150; n++) {
    luaL_Buffer text, expected;
    luaL_buffinit(L, &text);
    for (int i = 0; i < n; i++) {
      luaL_addstring(&text, i ? "," : "{\"outer\":[{");
      lua_pushfstring(L, "\"k%d\":{\"k%d\":[%d]}", i + 100, i + 100, i);
      luaL_addvalue(&text);
    }
    luaL_addstring(&text, n ? "}]}" : "{\"outer\":[{}]}");
    luaL_pushresult(&text);
    luaL_buffinit(L, &expected);
    for (int i = 0; i < n; i++) {
      luaL_addstring(&expected, i ? "," : "{'outer':[{");
      lua_pushfstring(L, "'k%d':{'k%d':[%d]}", i + 100, i + 100, i);
      luaL_addvalue(&expected);
    }
    luaL_addstring(&expected, n ? "}]}" : "{'outer':[{}]}");
    luaL_pushresult(&expected);
    size_t length;
    const char *bytes = lua_tolstring(L, -2, &length);
    cx_fault fault;
    CHECK(parse(L, bytes, length, &fault) == 0, "%d names", n);
    check_dump(L, bytes, lua_tostring(L, -2));
    lua_pop(L, 2);
  }
}

/* Levels that hold names each, so that the list of all is full on the way. */
static int parse_nested(lua_State *L, int depth, const char *open, const char *close) {
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (int i = 0; i < depth; i++) luaL_addstring(&text, open);
  luaL_addstring(&text, "0");
  for (int i = 0; i < depth; i++) luaL_addstring(&text, close);
  luaL_pushresult(&text);
  size_t n;
  const char *bytes = lua_tolstring(L, -1, &n);
  cx_fault fault;
  int rc = parse(L, bytes, n, &fault);
  lua_pop(L, rc == 0 ? 2 : 1);
  return rc;
}

static void test_depth(lua_State *L) {
  static const char *const pairs[][2] = {
      {"[", "]"}, {"{\"a\":", "}"}, {"[1,2,{\"a\":1,\"b\":2,\"c\":", ",\"a\":3}]"}};
  for (size_t i = 0; i < 3; i++) {
    int most = i == 2 ? CX_PARSE_DEPTH / 2 : CX_PARSE_DEPTH;
    CHECK(parse_nested(L, most, pairs[i][0], pairs[i][1]) == 0, "pair %zu", i);
    CHECK(parse_nested(L, most + 1, pairs[i][0], pairs[i][1]) == CX_EDEPTH, "pair %zu", i);
    CHECK(parse_nested(L, 100000, pairs[i][0], pairs[i][1]) == CX_EDEPTH, "pair %zu", i);
  }
  CHECK(parse_nested(L, 10, "[", "}") == CX_EJSON, "the wrong bracket is no matter of depth");
}

static void test_count(lua_State *L) {
  cx_fault fault;
  CHECK(cx_parse_json(L, "[1,{\"a\":2},[]]", 14, 5, &fault) == 0, "five values");
  lua_pop(L, 1);
  int top = lua_gettop(L);
  CHECK(cx_parse_json(L, "[1,{\"a\":2},[]]", 14, 4, &fault) == CX_ETOOMANY && fault.at == 11,
        "at %zu", fault.at);
  CHECK(lua_gettop(L) == top, "nothing is pushed");
}

/* ---- Memory --------------------------------------------------------------------------------- */

typedef struct {
  size_t blocks; /* that are in use */
  long left;     /* allocations until one fails, and again when Lua has collected its garbage */
} memory;

static void *allocate(void *user, void *block, size_t old_size, size_t size) {
  memory *m = user;
  (void)old_size;
  if (size == 0) {
    m->blocks -= block != NULL;
    free(block);
    return NULL;
  }
  if (m->left >= 0 && m->left < 2 && (!block || size > old_size)) {
    m->left--;
    return NULL;
  }
  if (!block || size > old_size) m->left -= m->left >= 2;
  void *result = realloc(block, size);
  m->blocks += !block && result;
  return result;
}

static int decode(lua_State *L) {
  cx_fault fault;
  size_t n;
  const char *text = lua_tolstring(L, 1, &n);
  int rc = cx_parse_json(L, text, n, 1000, &fault);
  if (rc != 0) luaL_error(L, "%s", fault.what);
  return 1;
}

/* A text with all that takes memory: many members, long strings with escapes, which need scratch,
 * duplicates, large numbers, depth. */
static void push_text(lua_State *L) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "{\"short\":\"\\n\",\"long\":\"\\u0000");
  for (int i = 0; i < 3000; i++) luaL_addstring(&b, "\\u00e4");
  luaL_addstring(&b, "\",\"short\":123456789012345678901234567890,\"short\":[1e5,{}],\"a\":[");
  for (int i = 0; i < 100; i++) luaL_addstring(&b, "[[{\"x\":0,\"y\":null}]],");
  luaL_addstring(&b, "0]");
  for (int i = 0; i < 100; i++) {
    lua_pushfstring(L, ",\"k%d\":%d", i, i);
    luaL_addvalue(&b);
  }
  luaL_addstring(&b, "}");
  luaL_pushresult(&b);
}

/* All memory of a reading is Lua's, so that what leaks would be in use when the state is closed.
 * Returns whether memory lasted; Lua itself can do without a few of its allocations. */
static bool test_nth(long n, long *failures) {
  memory m = {.left = -1};
  lua_State *L = open_state(allocate, &m);
  lua_pushcfunction(L, decode);
  push_text(L);
  m.left = n + 2;
  bool ok = lua_pcall(L, 1, 1, 0) == LUA_OK, lasted = m.left >= 2;
  m.left = -1;
  const char *said = ok ? "nothing" : lua_tostring(L, -1);
  bool is_told = strcmp(said, "not enough memory") == 0 || strstr(said, "stack overflow (JSON)");
  if (ok ? lua_type(L, -1) != LUA_TTABLE : lasted || !is_told)
    CHECK(false, "allocation %ld: %s", n, said);
  *failures += !ok;
  lua_pushcfunction(L, decode); /* and the next reading has what it needs */
  push_text(L);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) CHECK(false, "after allocation %ld", n);
  lua_close(L);
  if (m.blocks != 0) CHECK(false, "allocation %ld: %zu blocks leak", n, m.blocks);
  return lasted;
}

static void test_memory(void) {
  long n = 0, failures = 0;
  while (!test_nth(n, &failures)) n++;
  CHECK(failures > n - 10 && failures > 300, "%ld of %ld allocations failed", failures, n);
}

int main(void) {
  memory m = {.left = -1};
  lua_State *L = open_state(allocate, &m);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_case(L, i);
  test_sizes(L);
  test_depth(L);
  test_count(L);
  lua_close(L);
  CHECK(m.blocks == 0, "%zu blocks leak", m.blocks);
  test_memory();
  return report("parse_test");
}
