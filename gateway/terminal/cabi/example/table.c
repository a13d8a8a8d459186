/*
 * Asks decision tables from standard input, one tap a line, fields separated by
 * tabs:
 *
 *   name, table (base64), unix milliseconds, clock is right, remembers,
 *   scheme, mode, kind, medium, currency, stop, route,
 *   issuer, product, party, amount, counter, credential age in minutes,
 *   day taps, day amount, hour taps, seconds since the last tap
 *
 * and prints name, effect and rule, separated by tabs. It exits 1 when the library
 * failed, 2 for a line it cannot read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "citygate_terminal.h"

enum { FIELDS = 22, LINE_MAX_BYTES = 1 << 16 };

static int cut(char *line, char *fields[FIELDS]) {
  int n = 0;
  line[strcspn(line, "\n")] = 0;
  for (char *at = line; at != NULL && n < FIELDS; n++) {
    fields[n] = at;
    at = strchr(at, '\t');
    if (at != NULL) *at++ = 0;
  }
  return n;
}

static int64_t number(const char *text) { return strtoll(text, NULL, 10); }

static int answer(char *f[FIELDS]) {
  static const char *const effects[] = {"accept", "refuse", "limit"};
  citygate_handle table;
  citygate_error error;
  citygate_answer answer;
  citygate_facts facts = {
      .at_ms = number(f[2]), .clock_ok = f[3][0] == '1', .remembers = f[4][0] == '1',
      .scheme = f[5], .mode = f[6], .kind = f[7], .medium = f[8], .currency = f[9], .stop = f[10], .route = f[11],
      .issuer = number(f[12]), .product = number(f[13]), .party = number(f[14]), .amount = number(f[15]), .counter = number(f[16]),
      .credential_age = number(f[17]), .day_taps = number(f[18]), .day_amount = number(f[19]), .hour_taps = number(f[20]), .since_last = number(f[21]),
  };

  if (citygate_table_open(f[1], &table, &error) != CITYGATE_OK || citygate_table_decide(table, &facts, &answer, &error) != CITYGATE_OK ||
      citygate_close(table, &error) != CITYGATE_OK) {
    fprintf(stderr, "%s: %s: %s\n", f[0], error.code, error.message);
    return 1;
  }
  printf("%s\t%s\t%s\n", f[0], effects[answer.effect], answer.rule);
  return 0;
}

int main(void) {
  static char line[LINE_MAX_BYTES];
  char *fields[FIELDS];

  if (citygate_abi() != CITYGATE_ABI) {
    fprintf(stderr, "the library is of another version than the header\n");
    return 1;
  }
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (cut(line, fields) != FIELDS) {
      fprintf(stderr, "want %d fields a line\n", FIELDS);
      return 2;
    }
    int status = answer(fields);
    if (status != 0) return status;
  }
  return 0;
}
