/*
 * Answers presentations from standard input, one a line, fields separated by tabs:
 *
 *   name, set-up (JSON), scanned (hexadecimal), unix milliseconds, clock,
 *   kind, fare in minor units, its currency or -, vehicle binding, trust expired
 *
 * and prints name, outcome, reason and strength, separated by tabs. It exits 1
 * when the library failed, 2 for a line it cannot read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "citygate_terminal.h"

enum { FIELDS = 10, LINE_MAX_BYTES = 1 << 16, SCANNED_MAX = 4096 };

/* Cuts line at its tabs and gives the number of fields. */
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

/* Reads hexadecimal and gives the number of bytes, -1 for anything else. */
static int unhex(const char *text, uint8_t *into, size_t capacity) {
  size_t digits = strlen(text);
  if (digits % 2 != 0 || digits / 2 > capacity) return -1;
  for (size_t i = 0; i < digits / 2; i++) {
    unsigned value;
    if (sscanf(text + 2 * i, "%2x", &value) != 1) return -1;
    into[i] = (uint8_t)value;
  }
  return (int)(digits / 2);
}

static int answer(char *fields[FIELDS]) {
  static uint8_t scanned[SCANNED_MAX];
  citygate_handle decider;
  citygate_error error;
  citygate_verdict verdict;
  citygate_tap tap = {0};

  int length = unhex(fields[2], scanned, sizeof scanned);
  if (length < 0) {
    fprintf(stderr, "%s: scanned is not hexadecimal\n", fields[0]);
    return 2;
  }
  tap.scanned = scanned;
  tap.scanned_length = (size_t)length;
  tap.at_ms = strtoll(fields[3], NULL, 10);
  tap.clock = atoi(fields[4]);
  tap.kind = atoi(fields[5]);
  tap.fare_minor = strtoll(fields[6], NULL, 10);
  tap.fare_currency = strcmp(fields[7], "-") == 0 ? NULL : fields[7];
  tap.context = (uint16_t)atoi(fields[8]);
  tap.trust_expired = (uint8_t)atoi(fields[9]);

  if (citygate_decider_open(fields[1], &decider, &error) != CITYGATE_OK ||
      citygate_decide(decider, &tap, &verdict, &error) != CITYGATE_OK ||
      citygate_close(decider, &error) != CITYGATE_OK) {
    fprintf(stderr, "%s: %s: %s\n", fields[0], error.code, error.message);
    return 1;
  }
  if (verdict.open != (verdict.reason[0] == 0)) return 1;
  printf("%s\t%s\t%s\t%s\n", fields[0], verdict.outcome, verdict.reason, verdict.strength);
  return 0;
}

int main(void) {
  static char line[LINE_MAX_BYTES];
  char *fields[FIELDS];

  if (citygate_abi() != CITYGATE_ABI) {
    fprintf(stderr, "the library has interface %" PRId32 ", this program %d\n", citygate_abi(), CITYGATE_ABI);
    return 1;
  }
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (cut(line, fields) != FIELDS) {
      fprintf(stderr, "a line without %d fields\n", FIELDS);
      return 2;
    }
    int status = answer(fields);
    if (status != 0) return status;
  }
  return 0;
}
