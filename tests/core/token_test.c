/* The words of JSON: what is refused, why and at which byte; what strings and numbers mean, each
 * also at any place and cut at every byte. */
#include "token.h"

#include <inttypes.h>
#include <math.h>

#include "err.h"
#include "scan.h"
#include "test.h"

/* ---- Faults --------------------------------------------------------------------------------- */

static const struct {
  const char *text, *what;
  size_t at;
} faults[] = {
    {"", "the text ends too early", 0},
    {" \t\r\n", "the text ends too early", 4},
    {"[1,", "the text ends too early", 3},
    {"{\"a\":", "the text ends too early", 5},
    {"\xEF\xBB\xBF{}", "a value is missing", 0},
    {"\v1", "a value is missing", 0},
    {"[\xC2\xA0]", "a value is missing", 1},
    {"[1,]", "a value is missing", 3},
    {"[,1]", "a value is missing", 1},
    {"+1", "a value is missing", 0},
    {".5", "a value is missing", 0},
    {"{\"a\":}", "a value is missing", 5},
    {"Infinity", "a value is missing", 0},
    {"{1:2}", "a name is missing", 1},
    {"{\"a\":1,}", "a name is missing", 7},
    {"{\"a\" 1}", "a colon is missing", 5},
    {"{\"a\"}", "a colon is missing", 4},
    {"[1 2]", "a comma or a closing bracket is missing", 3},
    {"[1}", "a comma or a closing bracket is missing", 2},
    {"[1", "a comma or a closing bracket is missing", 2},
    {"{\"a\":1", "a comma or a closing bracket is missing", 6},
    {"1 2", "something follows the value", 2},
    {"[]]", "something follows the value", 2},
    {"0x10", "something follows the value", 1},
    {"nul", "a word that JSON does not know", 0},
    {"[NaN]", "a value is missing", 1},
    {"[tru]", "a word that JSON does not know", 1},
    {"truE", "a word that JSON does not know", 0},
    {"nullx", "something follows the value", 4},
    {"-", "a number without digits", 1},
    {"-Infinity", "a number without digits", 1},
    {"01", "a number that begins with a zero", 0},
    {"-00.5", "a number that begins with a zero", 1},
    {"1.", "a number needs a digit behind its point", 2},
    {"1.e5", "a number needs a digit behind its point", 2},
    {"1e", "a number needs a digit in its exponent", 2},
    {"1e+", "a number needs a digit in its exponent", 3},
    {"1e+-1", "a number needs a digit in its exponent", 3},
    {"\"", "the text ends within a string", 1},
    {"\"a\\\"", "the text ends within a string", 4},
    {"\"12345678\xC3\xA4", "the text ends within a string", 11},
    {"\"a\tb\"", "a raw control character in a string", 2},
    {"\"12345678\x1F\"", "a raw control character in a string", 9},
    {"\"\\x\"", "an escape that JSON does not know", 1},
    {"\"ab\\", "an escape that JSON does not know", 3},
    {"\"\\u12g4\"", "an escape that JSON does not know", 1},
    {"\"\\u12", "an escape that JSON does not know", 1},
    {"\"a\\ud800b\"", "half of a surrogate pair", 2},
    {"\"a\\udc00\\ud800b\"", "half of a surrogate pair", 2},
    {"\"a\xFF\"", "bytes that are no UTF-8", 2},
    {"\"\xC3\xA4\xC3(\"", "bytes that are no UTF-8", 3},
    {"\"\xC3\"", "bytes that are no UTF-8", 1},
    {"\"\xE2\x82", "bytes that are no UTF-8", 1},
    {"\"\xC0\x80\"", "bytes that are no UTF-8", 1},
    {"\"\xE0\x9F\xBF\"", "bytes that are no UTF-8", 1},
    {"\"\xED\xA0\x80\"", "bytes that are no UTF-8", 1},
    {"\"\xF0\x8F\xBF\xBF\"", "bytes that are no UTF-8", 1},
    {"\"\xF4\x90\x80\x80\"", "bytes that are no UTF-8", 1},
    {"\"\xF5\x80\x80\x80\"", "bytes that are no UTF-8", 1},
};

static void test_fault(size_t index) {
  const char *text = faults[index].text;
  size_t n = strlen(text);
  char *own = exactly(text, n);
  cx_fault fault;
  int rc = cx_scan(own, n, NULL, NULL, &fault);
  CHECK(rc == CX_EJSON && fault.at == faults[index].at &&
            strcmp(fault.what, faults[index].what) == 0,
        "%s: %d, %s at %zu", text, rc, fault.what ? fault.what : "nothing", fault.at);
  free(own);
}

/* ---- Strings -------------------------------------------------------------------------------- */

static bool read_string(const char *text, size_t n, cx_span *inside, bool *escaped) {
  cx_tokens t = {.start = text, .s = text, .end = text + n, .takes_halves = true};
  return cx_token_read_string(&t, inside, escaped) && t.s == t.end;
}

/* Each byte, at a place so far from the first: only what is plain is skipped, and alone no byte
 * beyond ASCII is. */
static void test_bytes(size_t before) {
  char text[40];
  for (int c = 0; c < 256; c++) {
    memset(text, 'x', sizeof text);
    text[before] = (char)c;
    bool plain = c >= ' ' && c < 0x80 && c != '"' && c != '\\';
    const char *stop = cx_token_skip_plain(text, text + sizeof text);
    if ((size_t)(stop - text) != (plain ? sizeof text : before))
      CHECK(false, "byte %02X at %zu: %td", (unsigned)c, before, stop - text);
    stop = cx_token_skip_plain(text, text + before);
    if (stop != text + before) CHECK(false, "byte %02X behind the end", (unsigned)c);
  }
}

/* UTF-8 as it is defined: the character that the bytes say, and the range that length is for. */
static unsigned decode(const unsigned char *s, size_t n) {
  unsigned c = s[0] & (n == 2 ? 0x1Fu : n == 3 ? 0x0Fu : 0x07u);
  for (size_t i = 1; i < n; i++) c = c << 6 | (s[i] & 0x3Fu);
  return c;
}

static size_t defined(const unsigned char *s) {
  size_t n = (s[0] & 0xE0) == 0xC0 ? 2 : (s[0] & 0xF0) == 0xE0 ? 3 : (s[0] & 0xF8) == 0xF0 ? 4 : 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  unsigned c = n ? decode(s, n) : 0;
  unsigned least = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
  return c >= least && c <= 0x10FFFF && !(c >= 0xD800 && c < 0xE000) ? n : 0;
}

static void test_sequences(void) {
  static const unsigned char later[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                        0xA0, 0xBF, 0xC0, 0xFF, 0xA9, 0x85};
  size_t wrong = 0, count = sizeof later;
  for (size_t i = 0; i < 128 * count * count * count; i++) {
    unsigned char s[4] = {(unsigned char)(0x80 + i % 128), later[i / 128 % count],
                          later[i / 128 / count % count], later[i / 128 / count / count]};
    const char *text = (const char *)s;
    size_t n = defined(s);
    wrong += cx_token_sequence(text, text + 4) != n;
    if (n) wrong += cx_token_sequence(text, text + n - 1) != 0;
  }
  CHECK(wrong == 0, "%zu sequences are not what they are", wrong);
}

/* What cx_token_skip_plain() says, found by looking at one character after the other. */
static size_t plain_length(const char *s, size_t n) {
  size_t at = 0;
  while (at < n) {
    unsigned char c = (unsigned char)s[at];
    if (c < ' ' || c == '"' || c == '\\') break;
    char four[4] = {0};
    memcpy(four, s + at, n - at < 4 ? n - at : 4);
    size_t length = c < 0x80 ? 1 : defined((const unsigned char *)four);
    if (length == 0 || length > n - at) break;
    at += length;
  }
  return at;
}

/* Short and long characters in turns, and now and then something that is none. */
static void test_mixtures(void) {
  static const char *const pieces[] = {"a",
                                       "bc",
                                       "12345678",
                                       "\xC2\x80",
                                       "\xC3\xA4",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xE3\x81\x82",
                                       "\xE4\xB8\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF",
                                       "\x7F",
                                       " ",
                                       "!",
                                       "#",
                                       "[",
                                       "]"};
  static const char *const odd[] = {"\"",
                                    "\\",
                                    "\x1F",
                                    "\x80",
                                    "\xBF",
                                    "\xC0\x80",
                                    "\xC1\xBF",
                                    "\xC3",
                                    "\xC3\xC3\xA4",
                                    "\xE0\x9F\xBF",
                                    "\xED\xA0\x80",
                                    "\xE3\x81",
                                    "\xE3\x81\x82\x82",
                                    "\xF0\x8F\xBF\xBF",
                                    "\xF4\x90\x80\x80",
                                    "\xF8\x88\x80\x80\x80",
                                    "\xFF",
                                    "\xE3\xE3\x81\x82"};
  const size_t kinds = sizeof pieces / sizeof *pieces, faults_kinds = sizeof odd / sizeof *odd;
  size_t wrong = 0;
  srand(3);
  for (int round = 0; round < 300000; round++) {
    char text[64];
    size_t first = (size_t)rand() % kinds, spread = 1 + (size_t)rand() % 6, n = 0;
    while (n < 40) {
      const char *piece = pieces[(first + (size_t)rand() % spread) % kinds];
      if (rand() % 15 == 0) piece = odd[(size_t)rand() % faults_kinds];
      n += (size_t)snprintf(text + n, sizeof text - n, "%s", piece);
    }
    n -= (size_t)rand() % 10;
    char *own = exactly(text, n);
    wrong += (size_t)(cx_token_skip_plain(own, own + n) - own) != plain_length(own, n);
    free(own);
  }
  CHECK(wrong == 0, "%zu mixtures are read wrongly", wrong);
}

static const struct {
  const char *text, *meaning;
  size_t n; /* of the meaning; 0: strlen */
} strings[] = {
    {"\"\"", "", 0},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 0},
    {"\"a\\u0000b\"", "a\0b", 3},
    {"\"\\u0041\\u00e4\\u20AC\\uFFFF\"", "A\xC3\xA4\xE2\x82\xAC\xEF\xBF\xBF", 0},
    {"\"x\\ud83d\\ude00\\uD83D\\uDE00y\"", "x\xF0\x9F\x98\x80\xF0\x9F\x98\x80y", 0},
    {"\"\\udbff\\udfff\"", "\xF4\x8F\xBF\xBF", 0},
    {"\"\\ud800\"", "\xED\xA0\x80", 0},
    {"\"\\udfff\"", "\xED\xBF\xBF", 0},
    {"\"\\ud800\\u0041\"", "\xED\xA0\x80\x41", 0},
    {"\"\\ud800\\ud800\\udc00\"", "\xED\xA0\x80\xF0\x90\x80\x80", 0},
    {"\"\\udc00\\ud800\"", "\xED\xB0\x80\xED\xA0\x80", 0},
    {"\"\\ud800\\\\udc00\"", "\xED\xA0\x80\\udc00", 0},
    {"\"\\ud800\\n\"", "\xED\xA0\x80\n", 0},
    {"\"\\\\u0000\"", "\\u0000", 0},
    {"\"12345678\x7F\xC2\x80\xE2\x82\xAC\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"",
     "12345678\x7F\xC2\x80\xE2\x82\xAC\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", 0},
};

static void test_string(size_t index) {
  const char *text = strings[index].text, *meaning = strings[index].meaning;
  size_t length = strlen(text), n = strings[index].n ? strings[index].n : strlen(meaning);
  char *own = exactly(text, length);
  cx_span inside = {0}, said = {0};
  cx_buf into = {0};
  bool escaped = false;
  CHECK(read_string(own, length, &inside, &escaped), "%s is read", text);
  CHECK(inside.n == length - 2 && escaped == (strchr(text, '\\') != NULL), "%s: its inside", text);
  CHECK(cx_buf_add_string(&into, "held") == 0 &&
            cx_token_unquote((cx_span){own, length}, &into, &said) == 0 && said.n == n &&
            memcmp(said.at, meaning, n) == 0 && memcmp(cx_buf_bytes(&into), "held", 4) == 0,
        "%s means %.*s", text, (int)said.n, said.at);
  char *out = exactly(inside.at, inside.n); /* sanitizers see what is written behind it */
  CHECK(cx_token_unescape(inside, out) == n && memcmp(out, meaning, n) == 0, "%s", text);
  for (size_t cut = 1; cut < length; cut++) {
    char *part = exactly(text, cut);
    if (read_string(part, cut, &inside, &escaped)) CHECK(false, "%s cut at %zu", text, cut);
    free(part);
  }
  free(out);
  free(own);
  cx_buf_free(&into);
}

/* ---- Numbers -------------------------------------------------------------------------------- */

static cx_number number(const char *text) {
  cx_tokens t = {.start = text, .s = text, .end = text + strlen(text)};
  cx_number n = {0};
  CHECK(cx_token_read_number(&t, &n) && t.s == t.end, "%s is a number", text);
  return n;
}

/* The form and value as integers; "-" where it is none. */
static const struct {
  const char *text, *form, *value;
} integers[] = {
    {"0", "0", "0"},
    {"-0", "0", "0"},
    {"-0.0", "-", "0"},
    {"1e3", "-", "1000"},
    {"1000e-3", "-", "1"},
    {"1.5", "-", "-"},
    {"15e-1", "-", "-"},
    {"1.50e1", "-", "15"},
    {"9223372036854775807", "9223372036854775807", "9223372036854775807"},
    {"9223372036854775808", "-", "-"},
    {"-9223372036854775808", "-9223372036854775808", "-9223372036854775808"},
    {"-9223372036854775809", "-", "-"},
    {"9999999999999999999", "-", "-"},
    {"18446744073709551616", "-", "-"},
    {"18446744073709551617", "-", "-"},
    {"1.000000000000000000000000000000", "-", "1"},
    {"0.00000000000000000000000000001e29", "-", "1"},
    {"100000000000000000000000000000e-29", "-", "1"},
    {"1e18", "-", "1000000000000000000"},
    {"1e19", "-", "-"},
    {"1e99999999999999999999", "-", "-"},
    {"0e99999999999999999999", "-", "0"},
    {"1e-99999999999999999999", "-", "-"},
};

static void say(char *out, bool is, int64_t value) { sprintf(out, is ? "%" PRId64 : "-", value); }

static void test_integer(size_t index) {
  cx_number n = number(integers[index].text);
  char form[32], value[32];
  int64_t integer = 0;
  bool is = n.is_whole && cx_number_integer(&n, &integer);
  say(form, is, integer);
  is = cx_number_value(&n, &integer);
  say(value, is, integer);
  CHECK(strcmp(form, integers[index].form) == 0 && strcmp(value, integers[index].value) == 0,
        "%s: %s, %s", integers[index].text, form, value);
}

static void test_real(const char *text) {
  cx_number n = number(text);
  double ours = cx_number_real(&n), theirs = strtod(text, NULL);
  CHECK(ours == theirs && signbit(ours) == signbit(theirs), "%.60s: %a, not %a", text, ours,
        theirs);
}

/* The middle between two doubles, written out, and the texts next to it. */
static void test_middles(void) {
  char text[1200];
  static const double doubles[] = {5e-324, 2.2250738585072014e-308, 0.1, 1,
                                   1e23,   9007199254740993e3};
  for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
    long double middle = ((long double)doubles[i] + nextafter(doubles[i], INFINITY)) / 2;
    int n = snprintf(text, sizeof text - 8, "%.1100Lg", middle);
    test_real(text);
    if (!strchr(text, 'e')) {
      snprintf(text + n, 8, "%s", strchr(text, '.') ? "1" : ".00001");
      test_real(text);
    }
  }
}

static void test_reals(void) {
  static const char *const texts[] = {"0.0",
                                      "-0.0",
                                      "0e5",
                                      "0.1",
                                      "1.5",
                                      "-2.50",
                                      "1e22",
                                      "1e23",
                                      "123456789012345678e-22",
                                      "9007199254740993",
                                      "9007199254740992.5",
                                      "9007199254740993.0000000000000000000000001",
                                      "1e308",
                                      "1.7976931348623157e308",
                                      "1.7976931348623159e308",
                                      "1e999",
                                      "-1e999",
                                      "1e-999",
                                      "4.9e-324",
                                      "2.4703282292062327e-324",
                                      "2.4703282292062328e-324",
                                      "2.2250738585072011e-308",
                                      "0.000000000000000000000000000000000000000000000000001e51",
                                      "179769313486231580793e289"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) test_real(texts[i]);
  srand(1);
  for (int i = 0; i < 20000; i++) {
    char text[128];
    uint64_t digits = (uint64_t)rand() << 33 ^ (uint64_t)rand() << 15 ^ (uint64_t)rand();
    int places = rand() % 25, exponent = rand() % 50 - 25;
    if (i % 3 == 0) exponent = rand() % 700 - 350;
    digits >>= rand() % 60;
    snprintf(text, sizeof text, "%" PRIu64 ".%0*de%d", digits, places + 1, rand() % 1000, exponent);
    test_real(text);
  }
}

/* More digits than are kept: only the last one, far behind, tells on which side of a middle. */
static void test_long_real(void) {
  static const char middle[] = "9007199254740993"; /* between ...992 and ...994 */
  char text[3000];
  memset(text, '0', sizeof text);
  memcpy(text, middle, sizeof middle - 1);
  text[sizeof middle - 1] = '.';
  text[sizeof text - 1] = '\0';
  test_real(text);
  text[sizeof text - 2] = '1';
  test_real(text);
  memset(text, '9', sizeof text - 1);
  test_real(text);
}

int main(void) {
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) test_fault(i);
  for (size_t before = 0; before < 40; before++) test_bytes(before);
  test_sequences();
  test_mixtures();
  for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) test_string(i);
  for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) test_integer(i);
  test_reals();
  test_middles();
  test_long_real();
  return report("token_test");
}
