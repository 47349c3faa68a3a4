/* Reads documents from standard input, each behind its length in a line of its own, with cJSON, and
 * says of each what it is: "!" where it is refused, or "=" and its value in the notation of
 * tests/json/campaign.lua, where all numbers are doubles. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

static void dump(const cJSON *item, FILE *out);

static void dump_string(const char *text, FILE *out) { fprintf(out, "%zu:%s", strlen(text), text); }

static void dump_number(double value, FILE *out) {
  unsigned char bytes[sizeof value];
  if (value == 0) value = 0; /* no sign */
  memcpy(bytes, &value, sizeof value);
  fputc('d', out);
  for (size_t i = sizeof value; i > 0; i--) fputc(bytes[i - 1], out);
}

/* By name, and of equal names in the order of the text. */
static int compare(const void *a, const void *b) {
  const cJSON *x = *(const cJSON *const *)a, *y = *(const cJSON *const *)b;
  int order = strcmp(x->string, y->string);
  if (order) return order;
  for (const cJSON *next = x->next; next; next = next->next)
    if (next == y) return -1;
  return 1;
}

static void dump_object(const cJSON *item, FILE *out) {
  size_t n = (size_t)cJSON_GetArraySize(item), i = 0;
  const cJSON **list = malloc((n + 1) * sizeof *list);
  if (!list) abort();
  for (const cJSON *child = item->child; child; child = child->next) list[i++] = child;
  qsort(list, n, sizeof *list, compare);
  fputc('{', out);
  for (i = 0; i < n; i++) {
    dump_string(list[i]->string, out);
    dump(list[i], out);
  }
  fputc('}', out);
  free(list);
}

static void dump(const cJSON *item, FILE *out) {
  if (cJSON_IsString(item)) {
    dump_string(item->valuestring, out);
  } else if (cJSON_IsNumber(item)) {
    dump_number(item->valuedouble, out);
  } else if (cJSON_IsObject(item)) {
    dump_object(item, out);
  } else if (cJSON_IsArray(item)) {
    fputc('[', out);
    for (const cJSON *child = item->child; child; child = child->next) dump(child, out);
    fputc(']', out);
  } else {
    fputc(cJSON_IsNull(item) ? 'n' : cJSON_IsTrue(item) ? 't' : 'f', out);
  }
}

/* cJSON itself is content with a value that something follows. */
static void judge(const char *text, size_t n, FILE *out) {
  const char *end = text;
  cJSON *tree = cJSON_ParseWithLengthOpts(text, n, &end, 0);
  while (tree && end < text + n && (unsigned char)*end <= ' ') end++; /* as it skips space */
  bool ok = tree && end == text + n;
  fputc(ok ? '=' : '!', out);
  if (ok) dump(tree, out);
  cJSON_Delete(tree);
}

int main(void) {
  size_t n, length;
  while (scanf("%zu", &n) == 1 && getchar() == '\n') {
    char *text = malloc(n + 1), *answer;
    if (!text || fread(text, 1, n, stdin) != n) return 1;
    FILE *out = open_memstream(&answer, &length);
    if (!out) return 1;
    judge(text, n, out);
    fclose(out);
    printf("%zu\n", length);
    fwrite(answer, 1, length, stdout);
    free(answer);
    free(text);
  }
  return 0;
}
