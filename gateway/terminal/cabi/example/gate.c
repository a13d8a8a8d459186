/*
 * A gate: takes commands from standard input, one a line, and keeps its journal
 * in a directory.
 *
 *   gate DIRECTORY SETUP
 *
 *   tap UNIX_MS HEX     prints: open|shut REASON SEQUENCE
 *   upload              prints: batch HEX, or: nothing
 *   ack                 the gateway has the batch printed last
 *   pending             prints: pending N
 *   bundle UNIX_MS HEX  installs a trust bundle
 *   list UNIX_MS HEX    installs a deny list
 *
 * A command that fails prints: error CODE. The terminal's key stands behind the
 * line, as a secure element on a serial port would: "sign HEX" goes out and the
 * next line that comes in is the signature in hexadecimal.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "citygate_terminal.h"

enum { LINE_MAX_BYTES = 1 << 21, BYTES_MAX = 1 << 20 };

static void print_hex(const char *word, const uint8_t *bytes, size_t length) {
  printf("%s ", word);
  for (size_t i = 0; i < length; i++) printf("%02x", bytes[i]);
  printf("\n");
  fflush(stdout);
}

static size_t unhex(const char *text, uint8_t *into, size_t capacity) {
  size_t n = 0;
  unsigned value;
  while (n < capacity && sscanf(text + 2 * n, "%2x", &value) == 1) into[n++] = (uint8_t)value;
  return n;
}

static int32_t sign(void *user, const uint8_t *message, size_t length, uint8_t signature[64]) {
  char line[160];
  (void)user;
  print_hex("sign", message, length);
  return fgets(line, sizeof line, stdin) != NULL && unhex(line, signature, 64) == 64 ? 0 : 1;
}

static int fail(const citygate_error *error) {
  printf("error %s\n", error->code);
  fprintf(stderr, "%s\n", error->message);
  return 0;
}

static int tap_once(citygate_handle gate, int64_t at, const uint8_t *scanned, size_t length) {
  citygate_error error;
  citygate_verdict verdict;
  citygate_tap tap = {0};
  tap.scanned = scanned;
  tap.scanned_length = length;
  tap.at_ms = at;
  tap.monotonic_ms = (uint64_t)at; /* booted in 1970 */
  tap.clock = CITYGATE_CLOCK_NETWORK;
  tap.kind = CITYGATE_SINGLE;
  tap.vehicle = "bus-7";
  tap.fare_minor = 200;
  tap.fare_currency = "CNY";
  if (citygate_terminal_tap(gate, &tap, &verdict, &error) != CITYGATE_OK) return fail(&error);
  return printf("%s %s %" PRIu64 "\n", verdict.open ? "open" : "shut", verdict.open ? "-" : verdict.reason, verdict.sequence);
}

int main(int argc, char **argv) {
  static char line[LINE_MAX_BYTES];
  static uint8_t bytes[BYTES_MAX];
  uint8_t hash[32] = {0};
  citygate_handle gate;
  citygate_error error;

  if (argc != 3) return 2;
  if (citygate_terminal_open(argv[1], argv[2], sign, NULL, &gate, &error) != CITYGATE_OK) {
    fail(&error);
    return 1;
  }
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *hex = NULL;
    char *word = strtok(line, " \n");
    char *at_text = strtok(NULL, " \n");
    int64_t at = at_text == NULL ? 0 : strtoll(at_text, NULL, 10);
    size_t length = 0;
    if (word == NULL) continue;
    if (at_text != NULL) hex = strtok(NULL, " \n");
    if (hex != NULL) length = unhex(hex, bytes, sizeof bytes);
    if (strcmp(word, "tap") == 0) {
      tap_once(gate, at, bytes, length);
    } else if (strcmp(word, "upload") == 0) {
      if (citygate_terminal_next_batch(gate, 0, bytes, sizeof bytes, &length, hash, &error) != CITYGATE_OK) fail(&error);
      else if (length == 0) printf("nothing\n");
      else print_hex("batch", bytes, length);
    } else if (strcmp(word, "ack") == 0) {
      if (citygate_terminal_ack(gate, hash, &error) != CITYGATE_OK) fail(&error);
      else printf("acknowledged\n");
    } else if (strcmp(word, "pending") == 0) {
      int64_t pending;
      if (citygate_terminal_pending(gate, &pending, &error) != CITYGATE_OK) fail(&error);
      else printf("pending %" PRId64 "\n", pending);
    } else if (strcmp(word, "bundle") == 0) {
      if (citygate_terminal_install_bundle(gate, at, bytes, length, &error) != CITYGATE_OK) fail(&error);
      else printf("installed\n");
    } else if (strcmp(word, "list") == 0) {
      if (citygate_terminal_install_list(gate, at, bytes, length, &error) != CITYGATE_OK) fail(&error);
      else printf("installed\n");
    } else {
      printf("error usage\n");
    }
    fflush(stdout);
  }
  return citygate_close(gate, &error) == CITYGATE_OK ? 0 : 1;
}
