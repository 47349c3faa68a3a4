/* Levels and redaction. */
#include "log.h"

#include <time.h>

#include "err.h"
#include "test.h"

typedef struct {
  int count;
  cx_log_level level;
  char line[256];
} heard;

static void hear(void *user, cx_log_level level, const char *line) {
  heard *h = user;
  h->count++;
  h->level = level;
  snprintf(h->line, sizeof h->line, "%s", line);
}

static void test_levels(void) {
  for (cx_log_level set = CX_LOG_DEBUG; set <= CX_LOG_OFF; set++)
    for (cx_log_level level = CX_LOG_DEBUG; level <= CX_LOG_ERROR; level++) {
      heard h = {0};
      cx_log log;
      cx_log_init(&log);
      log.level = set;
      log.sink = hear;
      log.user = &h;
      cx_log_write(&log, level, "number %d", 7);
      CHECK(h.count == (level >= set), "%d at %d", level, set);
      if (h.count) CHECK(h.level == level && strcmp(h.line, "number 7") == 0, "%s", h.line);
      cx_log_free(&log);
    }
  for (cx_log_level level = CX_LOG_DEBUG; level <= CX_LOG_OFF; level++)
    CHECK(cx_log_level_of(cx_log_level_name(level)) == (int)level, "%d", level);
  CHECK(cx_log_level_of("loud") == -1 && cx_log_level_of("") == -1, "other words");
}

static void test_controls(void) {
  heard h = {0};
  cx_log log;
  cx_log_init(&log);
  log.sink = hear;
  log.user = &h;
  cx_log_write(&log, CX_LOG_WARN, "%s",
               "a\x1b[2J\r\x7f\x01 \xc2\x9b"
               "b\n\tc \xc3\xa4 \xc2\xa0 \xc2");
  CHECK(strcmp(h.line, "a^[[2J^M^?^A <U+009B>b\n\tc \xc3\xa4 \xc2\xa0 \xc2") == 0, "%s", h.line);
  cx_log_free(&log);
}

static const struct {
  const char *text, *expected;
} redactions[] = {
    {"", ""},
    {"nothing to hide", "nothing to hide"},
    {"the hunter2hunter2!", "the [redacted]!"},
    {"hunter2hunter2 hunter2hunter2", "[redacted] [redacted]"},
    {"hunter2hunter2hunter2hunter2", "[redacted]"}, /* it is in there three times */
    {"xhunter2hunter2x", "x[redacted]x"},
    {"hunter2hunter2 and more", "[redacted]"}, /* the longer of two secrets */
    {"hunter2hunter", "hunter2hunter"},
    {"Authorization: Bearer abc.DEF-1~2+3/4=", "Authorization: Bearer [redacted]"},
    {"authorization: bearer t", "authorization: bearer [redacted]"},
    {"bearer ", "bearer "},
    {"a bearer, and", "a bearer, and"},
    {"forbearer x", "forbearer x"},
    {"sk-proj-0123456789abcdef_XY-z.", "[redacted]."},
    {"key=sk-0123456789abcdef", "key=[redacted]"},
    {"sk-short", "sk-short"},
    {"risk-assessment-of-everything", "risk-assessment-of-everything"},
    {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl end", "[redacted] end"},
    {"eyJ is not one", "eyJ is not one"},
    {"eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIxIn0", "eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIxIn0"},
};

/* Checks what becomes of a text, and that it stays so when it is redacted again. */
static void check_redacted(const cx_log *log, const char *given, const char *expected) {
  size_t n = strlen(given), length = strlen(expected);
  char *text = exactly(given, n);
  cx_buf out = {0}, again = {0};
  CHECK(cx_log_redact(log, text, n, &out) == 0, "%s", given);
  CHECK(out.len == length && memcmp(cx_buf_bytes(&out), expected, length) == 0, "%s became %.*s",
        given, (int)out.len, cx_buf_bytes(&out));
  CHECK(cx_log_redact(log, cx_buf_bytes(&out), out.len, &again) == 0 && again.len == out.len &&
            memcmp(cx_buf_bytes(&again), cx_buf_bytes(&out), out.len) == 0,
        "%s became %.*s", given, (int)again.len, cx_buf_bytes(&again));
  cx_buf_free(&out);
  cx_buf_free(&again);
  free(text);
}

static void test_redaction(void) {
  cx_log log;
  cx_log_init(&log);
  CHECK(cx_log_secret(&log, "short") == CX_EARGUMENT, "too short to be told from a word");
  CHECK(cx_log_secret(&log, "hunter2hunter2") == 0, "a secret");
  CHECK(cx_log_secret(&log, "hunter2hunter2 and more") == 0, "a longer one");
  for (size_t i = 0; i < sizeof redactions / sizeof *redactions; i++)
    check_redacted(&log, redactions[i].text, redactions[i].expected);
  cx_log_free(&log);
}

#define HID "[redacted]"
#define GH "ghp_0123456789abcdefghijABCDEFGHIJ012345"
#define BASIC "dXNlcjpwYXNzd29yZA=="

/* What realistic texts have around a secret. */
static const struct {
  const char *text, *expected;
} misses[] = {
    /* Colours, as they are and as JSON and source code write them. */
    {"\x1b[32m" GH "\x1b[0m", "\x1b[32m" HID "\x1b[0m"},
    {"\x1b[01;31m\x1b[Ksk-proj-0123456789abcdef", "\x1b[01;31m\x1b[K" HID},
    {"{\"out\":\"\\u001b[32m" GH "\\u001b[0m\"}", "{\"out\":\"\\u001b[32m" HID "\\u001b[0m\"}"},
    {"printf '\\033[1m" GH "'", "printf '\\033[1m" HID "'"},
    {"^[[32m" GH, "^[[32m" HID},
    {"\x1b[01;31m\x1b[Kpassword\x1b[m\x1b[K=hunter22",
     "\x1b[01;31m\x1b[Kpassword\x1b[m\x1b[K=" HID},
    {"password: \x1b[1mhunter22\x1b[0m", "password: \x1b[1m" HID "\x1b[0m"},
    /* Percents. */
    {"next%3D" GH, "next%3D" HID},
    {"u=%2Fcb%3Fcode%3Dabc%26x", "u=%2Fcb%3Fcode%3D" HID "%26x"},
    {"https%3A%2F%2Fu%3Apw%40host", "https%3A%2F%2Fu%3A" HID "%40host"},
    {"q=password%3dhunter22&a=b", "q=password%3d" HID "&a=b"},
    {"b=%7B%22token%22%3A%22abc%22%7D", "b=%7B%22token%22%3A%22" HID "%22%7D"},
    /* Spaces around the mark. */
    {"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
     "aws_secret_access_key = " HID},
    {"password = hunter2hunter22", "password = " HID},
    {"password\t=\thunter2hunter22\n", "password\t=\t" HID "\n"},
    {"Authorization:  Basic  " BASIC, "Authorization:  Basic  " HID},
    {"Authorization:\tBearer\tabc", "Authorization:\tBearer\t" HID},
    {"Authorization: Basic " BASIC, "Authorization: Basic " HID},
    {"authorization=Bearer abc.def", "authorization=Bearer " HID},
    {"token=Bearer abc", "token=Bearer " HID},
    {"Bearer  abc123def", "Bearer  " HID},
    {"tool --token  abc123def456", "tool --token  " HID},
    /* Members of JSON. */
    {"{\"password\":12345678,\"n\":1}", "{\"password\":\"" HID "\",\"n\":1}"},
    {"\"{\\\"password\\\":12345678}\"", "\"{\\\"password\\\":\\\"" HID "\\\"}\""},
    {"{\"password\":\"$ecret99Pass\"}", "{\"password\":\"" HID "\"}"},
    {"{\"password\":\"-Secret99Pass\"}", "{\"password\":\"" HID "\"}"},
    {"{\"password\": \"user.token\"}", "{\"password\": \"" HID "\"}"},
    {"{\"password\":\"abc\\\\\",\"other\":\"visible\"}",
     "{\"password\":\"" HID "\",\"other\":\"visible\"}"},
    {"{\"password\":\"a\\\"b\\\\\\\"c\",\"x\":1}", "{\"password\":\"" HID "\",\"x\":1}"},
    {"\"{\\\"password\\\":\\\"a\\\\\\\\\\\",\\\"x\\\":1}\"",
     "\"{\\\"password\\\":\\\"" HID "\\\",\\\"x\\\":1}\""},
    {"{\"said\":\"sk-proj\\u002d0123456789abcdef\"}", "{\"said\":\"" HID "\"}"},
    {"{\"said\":\"\\u0073k-proj-0123456789abcdef\"}", "{\"said\":\"" HID "\"}"},
    {"{\"pass\\u0077ord\":\"x\",\"y\":\"z\"}", "{\"pass\\u0077ord\":\"" HID "\",\"y\":\"z\"}"},
    {"{\"to\":\"https:\\/\\/u:pw@host\"}", "{\"to\":\"https:\\/\\/u:" HID "@host\"}"},
    {"{\"auths\":{\"r.io\":{\"auth\":\"" BASIC "\"}}}",
     "{\"auths\":{\"r.io\":{\"auth\":\"" HID "\"}}}"},
    {"//packages.example/:_auth=" BASIC, "//packages.example/:_auth=" HID},
    {"{\"a\":\"-u 'dev:pw\",\"b\":\"it's\"}", "{\"a\":\"-u 'dev:" HID "\",\"b\":\"it's\"}"},
    {"{\"a\":\"-----BEGIN PRIVATE KEY-----\\nAbc\\n\\\"\",\"b\":1}",
     "{\"a\":\"-----BEGIN PRIVATE KEY-----" HID "\\\"\",\"b\":1}"},
    /* Others. */
    {"git clone https://u:p@ss@host/x", "git clone https://u:" HID "@host/x"},
    {"AccountName=a;AccountKey=abc+/def==;EndpointSuffix=b",
     "AccountName=a;AccountKey=" HID ";EndpointSuffix=b"},
    {"https://hooks.slack.com/services/T0000/B0000/abcdefghijkl", "https://hooks.slack.com/" HID},
    {"curl https://discord.com/api/webhooks/123456789/abcdefghijkl",
     "curl https://discord.com/api/webhooks/" HID},
    {"rt_AbCdEf0123456789AbCdEf0123", HID},
    {"curl -u \"dev:my pass\" x", "curl -u \"dev:" HID "\" x"},
    {"password=hunter2&more;stuff", "password=" HID "&more;stuff"},
    /* Options whose names do not say it. */
    {"curl -uu:hunter2 http://x", "curl -uu:" HID " http://x"},
    {"curl -su u:hunter2 http://x", "curl -su u:" HID " http://x"},
    {"curl --user=u:hunter2 x", "curl --user=u:" HID " x"},
    {"curl -b 'sid=abc; b=c' x", "curl -b '" HID "' x"},
    {"docker login -u me -p hunter2 r.io", "docker login -u me -p " HID " r.io"},
    {"mysql -phunter2 -u root", "mysql -p" HID " -u root"},
    {"sshpass -p hunter2 ssh h", "sshpass -p " HID " ssh h"},
    {"sshpass -p'hunter 2' ssh h", "sshpass -p'" HID "' ssh h"},
    {"[\"curl\",\"-u\",\"u:hunter2\"]", "[\"curl\",\"-u\",\"u:" HID "\"]"},
    {"[\"curl\",\"-uu:hunter2\"]", "[\"curl\",\"-uu:" HID "\"]"},
    {"[\"x\",\"--token\",\"hunter2\"]", "[\"x\",\"--token\",\"" HID "\"]"},
    {"[\"x\",\n \"--token\",\n \"hunter2\"]", "[\"x\",\n \"--token\",\n \"" HID "\"]"},
    /* Headers go to the end of the line, or of the text that has them. */
    {"cookie: sid=\"hunter2\"; a=b\nx", "cookie: " HID "\nx"},
    {"{\"h\":\"Cookie: sid=\\\"hunter2\\\"; a\",\"b\":1}", "{\"h\":\"Cookie: " HID "\",\"b\":1}"},
    {"{\"h\":\"Cookie: sid=\",\"b\":1}", "{\"h\":\"Cookie: " HID "\",\"b\":1}"},
    {"Authorization: AWS4-HMAC-SHA256 Credential=a/b, Signature=c0ffee\nHost: x",
     "Authorization: " HID "\nHost: x"},
    {"Proxy-Authorization: Digest username=\"u\", response=\"c0ffee\"\r\nx",
     "Proxy-Authorization: Digest " HID "\r\nx"},
    {"[[\"Authorization\",\"Basic hunter2\"]]", "[[\"Authorization\",\"Basic " HID "\"]]"},
    /* Marks and quotes of other languages. */
    {"password := \"hunter2\"", "password := \"" HID "\""},
    {"'token' => 'hunter2',", "'token' => '" HID "',"},
    {"TOKEN=$'hunter2' make", "TOKEN=$'" HID "' make"},
    {"password=`hunter2`;", "password=`" HID "`;"},
    {"password = \"\"\"hunter \"2\"\"\"", "password = \"\"\"" HID "\"2\"\"\""},
    {"<password>hunter 2</password>", "<password>" HID "</password>"},
    {"password: |\n  hunter2\n  more\nnext: 1", "password: |\n  " HID "\nnext: 1"},
    {"{\"y\":\"password: >-\\n  hunter2\\n\",\"b\":1}",
     "{\"y\":\"password: >-\\n  " HID "\\n\",\"b\":1}"},
    {"machine h login u password hunter2\n", "machine h login u password " HID "\n"},
    {"machine h\n\tlogin u\n\tpassword hunter2\n", "machine h\n\tlogin u\n\tpassword " HID "\n"},
    {"Your API key: hunter2hunter2", "Your API key: " HID},
    {"SECRET_KEY_BASE=hunter2", "SECRET_KEY_BASE=" HID},
    /* Members that go together. */
    {"{\"name\":\"A_TOKEN\",\"value\":\"hunter2\"}",
     "{\"name\":\"A_TOKEN\",\"value\":\"" HID "\"}"},
    {"{\"value\":\"hunter2\",\"name\":\"A_TOKEN\"}",
     "{\"value\":\"" HID "\",\"name\":\"A_TOKEN\"}"},
    {"{\"keyPath\":[\"a\",\"api_key\"],\"value\":\"hunter2\"}",
     "{\"keyPath\":[\"a\",\"api_key\"],\"value\":\"" HID "\"}"},
    {"<add key=\"ApiKey\" value=\"hunter2\"/>", "<add key=\"ApiKey\" value=\"" HID "\"/>"},
    {"{\"passwords\":{\"a\":\"hunter2\"},\"b\":1}", "{\"passwords\":\"" HID "\",\"b\":1}"},
    {"\"{\\\"secret\\\":[\\\"hunter2\\\"]}\"", "\"{\\\"secret\\\":\\\"" HID "\\\"}\""},
    {"https://aB3dE6gH9jK2mN5pQ8sT@host/x", "https://" HID "@host/x"},
};

static void test_misses(void) {
  cx_log log;
  cx_log_init(&log);
  for (size_t i = 0; i < sizeof misses / sizeof *misses; i++)
    check_redacted(&log, misses[i].text, misses[i].expected);
  cx_log_free(&log);
}

/* Sentences and lines of code that say nothing secret. */
static const char *const plain[] = {
    "Missing bearer or basic authentication in header",
    "token limit reached",
    "password = required",
    "password: required",
    "the token = the word",
    "Bearer token limit reached",
    "{\"said\":\"Enter your password:\",\"n\":1}",
    "{\"a\":\"x --password \",\"b\":\"y\"}",
    "{\"a\":\"token\\\":\",\"b\":\"y\"}",
    "[\"token=\",\"secret:\",12]",
    "prompt(\"Password: \") .. name",
    "if (token == other_token) return;",
    "token = next_token(lexer);",
    "local token = self.lexer.current",
    "password = options.password;",
    "secret = keys[index1];",
    "  --token   Sets the token of the account",
    "  --password  Prompts for one",
    "password = getpass.getpass('Password: ')",
    "the secret: nobody reads it",
    "api_key = None",
    "const token: string = props.token;",
    "auth=required, auth: oauth2, \"auth\":\"bearer\"",
    "\"auth\": \"chatgptAuthTokens0\"",
    "rt_mutex_adjust_prio_chain and rt_sigtimedwait_time64",
    "https://host:8080?mail=a@example.org",
    "100%25 of %d tokens%3d",
    "\x1b[32mok\x1b[0m, a token\x1b[m is",
    "see https://hooks.slack.com/ and https://discord.com/api/webhooks/",
    "C:\\path\\token\\temp",
    "cookies are =^.^=",
    "export TOKEN=$(cat /run/token)",
    "max_tokens = 4096, token = 12",
    "progressToken: 1234567890abc",
    "\"token\": null, \"password\": \"\", \"secret\": true",
    "author=\"me\" authority: x86_64-linux",
    "basic  training",
    "the user_code is shown: type it",
    "token count: 5, max_tokens: 100, tokens: 12, \"tokens\":[1,2,3]",
    "pass: 12 tests, PASS: tests/core/a1b2c3d4e5f6g7h8_test, PASS=12 FAIL=0",
    "--- PASS: TestRedaction2 (0.01s)",
    "pwd=/home/dev/a1b2c3d4e5f6g7h8",
    "author: x, auth: \"oauth\", \"auth\":\"chatgptAuthTokens0\"",
    "\"required\":[\"token\",\"page_id\",\"apiKey\"]",
    "[\"use --token\", \"or --help\"]",
    "{\"name\":\"token\",\"description\":\"of the account\"}",
    "\"secrets\":[], \"token\":{}, \"tokens\":[\"the\",\"cat\"]",
    "docker run -p 8080:80 image; mkdir -p dir; ssh -p 2222 host; loginctl show -p Type",
    "mysql -p db, mysql -u root -p",
    "curl -b cookies.txt -c jar https://x; sort -b a=b",
    "token := lexer.next(), token => lexer.next()",
    "if token <- chan then `token` is `password`",
    "if (token>other) <b>token</b>",
    "password: | none",
    "this machine has a login page, whose password is long",
    "the API key: required, API keys: none",
    "git clone https://someones-name@github.com/x",
    "https://user.name1@example.org, ssh://git@host",
};

static void test_plain(void) {
  cx_log log;
  cx_log_init(&log);
  for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
    check_redacted(&log, plain[i], plain[i]);
  cx_log_free(&log);
}

/* A secret that was told goes as a whole, however it is spelled and whatever it overlaps with. */
static const struct {
  const char *text, *expected;
} told[] = {
    {"password=hunter2&more;stuff!", "password=" HID "!"},
    {"x hunter2&more;stuff", "x " HID},
    {"hunter2%26more%3Bstuff, hunter2%26more%3bstuff", HID ", " HID},
    {"password=hunter2%26more;stuff", "password=" HID},
    {"a \"quoted\" one", HID},
    {"{\"x\":\"a \\\"quoted\\\" one\"}", "{\"x\":\"" HID "\"}"},
    {"q=a+%22quoted%22+one&b", "q=" HID "&b"},
    {"q=a%20%22quoted%22%20one&b", "q=" HID "&b"},
    {"caf\xc3\xa9-\xf0\x9f\x98\x80", HID},
    {"caf\\u00e9-\\ud83d\\ude00", HID},
    {"caf\\u00E9-\\ud83d", "caf\\u00E9-\\ud83d"},
    {"b\\c\\\\d/e f", HID},
    {"b\\\\c\\\\\\\\d\\/e f", HID},
    {"--token=opensesame", "--" HID},           /* it begins within what introduces a value */
    {"sk-abcdefghijklmnopqrstuvwxyz0123", HID}, /* it is the head of what has a shape */
    {"12345 password=hunter22", HID},
};

static void test_told(void) {
  static const char *const secrets[] = {
      "hunter2&more;stuff", "a \"quoted\" one", "caf\xc3\xa9-\xf0\x9f\x98\x80",
      "b\\c\\\\d/e f",      "token=opensesame", "sk-abcdefghijklmno",
      "12345 pass"};
  cx_log log;
  cx_log_init(&log);
  for (int twice = 0; twice < 2; twice++)
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
      CHECK(cx_log_secret(&log, secrets[i]) == 0, "%s", secrets[i]);
  CHECK(log.secrets.count == sizeof secrets / sizeof *secrets, "each is kept once");
  for (size_t i = 0; i < sizeof told / sizeof *told; i++)
    check_redacted(&log, told[i].text, told[i].expected);
  cx_log_free(&log);
}

/* ---- Time -------------------------------------------------------------------------------------
 */

/* What the rules know, and what makes them look on. */
static const char *const vocabulary[] = {"token",
                                         "password",
                                         "api_key",
                                         "Authorization",
                                         "Cookie",
                                         "_auth",
                                         "a.",
                                         "x",
                                         "A",
                                         "7",
                                         "-",
                                         "--",
                                         "=",
                                         ":",
                                         " = ",
                                         ": ",
                                         " ",
                                         "\t",
                                         "\"",
                                         "'",
                                         "\\",
                                         "\\\"",
                                         "\\\\\"",
                                         "$",
                                         ".",
                                         "*",
                                         "(",
                                         "?",
                                         "&",
                                         "bearer ",
                                         "Basic ",
                                         "sk-",
                                         "eyJ",
                                         "eyJa.",
                                         "rt_",
                                         "://",
                                         "://u:",
                                         "@",
                                         "-u ",
                                         "?code=",
                                         "-----BEGIN PRIVATE KEY-----\n",
                                         "-----END",
                                         "\x1b[1m",
                                         "\\u001b[",
                                         "%3D",
                                         "%22",
                                         "\\u0061",
                                         "\\/",
                                         "{",
                                         "}",
                                         ",",
                                         "\n",
                                         "hunter2",
                                         "hooks.slack.com/",
                                         "true",
                                         "`",
                                         "<token>",
                                         "</",
                                         "[",
                                         "]",
                                         "|\n ",
                                         "|\\n ",
                                         "curl -u",
                                         "login -p ",
                                         "\"--token\",\"",
                                         "\"token\":[",
                                         "\"name\":\"a_token\",",
                                         "\"value\":\"",
                                         "\"value\":[",
                                         "machine a login b ",
                                         "Cookie: a=\"",
                                         "=\"",
                                         ".token"};

static unsigned seed;

static unsigned random_below(unsigned n) {
  seed = seed * 1103515245u + 12345u;
  return (seed >> 16) % n;
}

static const char *random_piece(void) {
  return vocabulary[random_below(sizeof vocabulary / sizeof *vocabulary)];
}

static void put_end(char *text, size_t n, const char *end) {
  for (size_t i = strlen(end); i > 0; i--) text[--n] = end[i - 1];
}

/* A few pieces, again and again; then perhaps something that ends it all. */
static char *hostile(unsigned number, size_t n) {
  cx_buf unit = {0}, text = {0};
  seed = number;
  for (unsigned i = 1 + random_below(5); i > 0; i--) cx_buf_add_string(&unit, random_piece());
  bool grows = random_below(4) == 0;
  for (size_t i = 0; text.len < n; i++) {
    cx_buf_add(&text, cx_buf_bytes(&unit), unit.len);
    for (size_t k = 0; grows && k < i && text.len < n; k++) cx_buf_add_string(&text, "\\");
    if (number % 3 == 0) cx_buf_add_string(&text, random_piece());
  }
  char *copy = exactly(cx_buf_bytes(&text), n);
  put_end(copy, n, random_piece());
  cx_buf_free(&unit);
  cx_buf_free(&text);
  return copy;
}

static char *repeated(const char *unit, const char *end, size_t n) {
  char *text = exactly("", 0);
  text = realloc(text, n);
  if (!text) abort();
  for (size_t i = 0, length = strlen(unit); i < n; i++) text[i] = unit[i % length];
  put_end(text, n, end);
  return text;
}

/* The processor's time for a text, the shorter of two; in seconds. */
static double time_of(const cx_log *log, const char *text, size_t n) {
  double least = 1e9;
  for (int i = 0; i < 2; i++) {
    cx_buf out = {0};
    clock_t started = clock();
    CHECK(cx_log_redact(log, text, n, &out) == 0, "%.40s", text);
    double time = (double)(clock() - started) / CLOCKS_PER_SEC;
    if (time < least) least = time;
    cx_buf_free(&out);
  }
  return least;
}

/* Four times as long a text takes four times the time, and not sixteen times; on a busy machine it
 * may well be eight. */
static void check_time(const cx_log *log, char *shorter, char *longer, size_t n) {
  double one = time_of(log, shorter, n), four = time_of(log, longer, 4 * n);
  CHECK(four < 8 * one + 0.1, "%.60s: %g s, then %g s", longer, one, four);
  free(shorter);
  free(longer);
}

static void test_time(void) {
  static const struct {
    const char *unit, *end;
  } known[] = {{"\"token:$\"", ""},  {"token:$", ""},
               {"token=", ".token"}, {"token:", "("},
               {"\"token\":[", ""},  {"\"token\":[\\", "\""},
               {"token: |\n ", ""},  {"curl -u ", ":"},
               {"Cookie: a=\"", ""}, {"\"name\":\"a_token\",\"value\":[", ""},
               {"token=\"$", ""},    {"eyJ-", "."},
               {"://u:", "@"},       {"token: -", ""}};
  enum { N = 50 * 1000 };
  cx_log log;
  cx_log_init(&log);
  cx_log_secret(&log, "token=$token=$");
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    check_time(&log, repeated(known[i].unit, known[i].end, N),
               repeated(known[i].unit, known[i].end, (size_t)4 * N), N);
  for (unsigned i = 0; i < 60; i++) check_time(&log, hostile(i, N), hostile(i, (size_t)4 * N), N);
  cx_log_free(&log);
}

/* Texts that end anywhere are read to their end and no further. */
static void test_cut_off(void) {
  static const char *const texts[] = {
      "curl -u dev:s3cret --token abc123 --password='x y' -H \"Cookie: a=b; c\" "
      "https://u:pw@h/?code=1",
      "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/=\n-----END RSA PRIVATE KEY-----",
      "Authorization: Basic dXNlcjpwdw== GH_PAT=x a.b.api_key = \\\"v\\\" "
      "npm_0123456789abcdefghijkl",
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl Bearer abcdefgh1 -u 1000:1000 token: "
      "4f4f4f"};
  cx_log log;
  cx_log_init(&log);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    for (size_t n = 0; n <= strlen(texts[i]); n++) {
      char *text = exactly(texts[i], n);
      cx_buf out = {0};
      CHECK(cx_log_redact(&log, text, n, &out) == 0, "%s", texts[i]);
      cx_buf_free(&out);
      free(text);
    }
  cx_log_free(&log);
}

/* No secret gets past the sink, also where a format puts it together. */
static void test_sink(void) {
  heard h = {0};
  cx_log log;
  cx_log_init(&log);
  log.sink = hear;
  log.user = &h;
  cx_log_secret(&log, "correct horse");
  cx_log_write(&log, CX_LOG_ERROR, "%s%s", "a correct", " horse");
  CHECK(strcmp(h.line, "a [redacted]") == 0, "%s", h.line);
  cx_log_free(&log);
}

int main(void) {
  test_levels();
  test_controls();
  test_redaction();
  test_misses();
  test_plain();
  test_told();
  test_time();
  test_cut_off();
  test_sink();
  return report("log_test");
}
