/* Calls that a host must not make: each is an error, opens no gate and leaves the
 * process alive. */
#include <stdio.h>
#include <string.h>

#include "citygate_terminal.h"

static int failures = 0;

static void expect(int line, int32_t status, const citygate_error *error, const char *code) {
  if (status == CITYGATE_OK || strcmp(error->code, code) != 0 || error->message[0] == 0) {
    printf("line %d: status %d, %s (%s), want %s\n", line, (int)status, error->code, error->message, code);
    failures++;
  }
}
#define EXPECT(call, code) expect(__LINE__, call, &error, code)

static int32_t sign(void *user, const uint8_t *message, size_t length, uint8_t signature[64]) {
  (void)user, (void)message, (void)length, (void)signature;
  return 7;
}

static const char *rules =
    "{\"rules\":{\"version\":1,\"tenant\":1,\"issuers\":[],\"schemes\":[\"ct1\"],\"modes\":[],\"skew_seconds\":30,"
    "\"max_window_seconds\":60,\"max_ttl_hours\":168,\"stale_list_seconds\":0,\"missing_list_ok\":true,\"late_upload_days\":1,"
    "\"clock_suspect_seconds\":1,\"incomplete\":{\"charge\":\"none\",\"minor\":0,\"max_journey_minutes\":1,\"grace_minutes\":0}},"
    "\"mode\":\"bus\",\"keys\":[],\"lists\":[],\"seen\":[]}";

int main(int argc, char **argv) {
  citygate_error error;
  citygate_handle decider = 77, gate = 77, closed;
  citygate_verdict verdict;
  citygate_tap tap = {0};
  uint8_t small[4], hash[32] = {0};
  size_t length;
  int64_t pending;
  char setup[256];

  if (argc != 2) return 2;
  EXPECT(citygate_decider_open(NULL, &decider, &error), "abi.setup");
  EXPECT(citygate_decider_open("", &decider, &error), "abi.setup");
  EXPECT(citygate_decider_open("{}", &decider, &error), "abi.setup");
  EXPECT(citygate_decider_open("{\"rule\":1}", &decider, &error), "abi.setup");
  EXPECT(citygate_decider_open("{\"rules\":{}}", &decider, &error), "accept.rules");
  EXPECT(citygate_decider_open(rules, NULL, &error), "abi.argument");
  if (decider != 0) printf("a handle is left behind\n"), failures++;
  if (citygate_decider_open(rules, &decider, &error) != CITYGATE_OK) printf("%s\n", error.message), failures++;
  if (error.code[0] != 0) printf("an error is left behind\n"), failures++;

  memset(&verdict, 0xff, sizeof verdict);
  EXPECT(citygate_decide(0, &tap, &verdict, &error), "abi.handle");
  if (verdict.open || strcmp(verdict.reason, "internal") != 0) printf("a failed call says %s\n", verdict.reason), failures++;
  EXPECT(citygate_decide(decider, NULL, &verdict, &error), "abi.argument");
  EXPECT(citygate_decide(decider, &tap, NULL, &error), "abi.argument");
  tap.scanned_length = 5;
  memset(&verdict, 0xff, sizeof verdict);
  EXPECT(citygate_decide(decider, &tap, &verdict, &error), "abi.argument");
  if (verdict.open) printf("a failed call opens\n"), failures++;
  tap.scanned_length = 0;
  if (citygate_decide(decider, &tap, &verdict, NULL) != CITYGATE_OK || strcmp(verdict.reason, "unsupported") != 0) {
    printf("nothing scanned: %s\n", verdict.reason), failures++;
  }
  EXPECT(citygate_terminal_tap(decider, &tap, &verdict, &error), "abi.handle");
  EXPECT(citygate_terminal_pending(decider, &pending, &error), "abi.handle");
  closed = decider;
  if (citygate_close(decider, NULL) != CITYGATE_OK) printf("close\n"), failures++;
  EXPECT(citygate_close(closed, &error), "abi.handle");
  EXPECT(citygate_decide(closed, &tap, &verdict, &error), "abi.handle");

  snprintf(setup, sizeof setup, "{\"tenant\":1,\"terminal\":5,\"mode\":\"bus\",\"software\":\"t\",\"boot_id\":1,\"roots_hex\":[\"%064d\"],\"threshold\":1}", 1);
  EXPECT(citygate_terminal_open("/no such directory", setup, sign, NULL, &gate, &error), "abi.setup");
  EXPECT(citygate_terminal_open(argv[1], setup, NULL, NULL, &gate, &error), "abi.argument");
  EXPECT(citygate_terminal_open(argv[1], "{\"tenant\":1,\"threshold\":1}", sign, NULL, &gate, &error), "abi.setup");
  if (citygate_terminal_open(argv[1], setup, sign, NULL, &gate, &error) != CITYGATE_OK) printf("%s\n", error.message), failures++;
  if (closed == gate) printf("a handle came twice\n"), failures++;
  EXPECT(citygate_terminal_install_bundle(gate, 0, NULL, 9, &error), "abi.argument");
  EXPECT(citygate_terminal_install_bundle(gate, 0, small, 4, &error), "bundle.malformed");
  EXPECT(citygate_terminal_ack(gate, NULL, &error), "abi.argument");
  EXPECT(citygate_terminal_ack(gate, hash, &error), "terminal.not_outstanding");
  tap.kind = CITYGATE_SINGLE;
  tap.clock = 9;
  EXPECT(citygate_terminal_tap(gate, &tap, &verdict, &error), "abi.argument");
  tap.clock = CITYGATE_CLOCK_RTC;
  if (citygate_terminal_tap(gate, &tap, &verdict, &error) != CITYGATE_OK || verdict.open || verdict.sequence != 1) printf("a tap\n"), failures++;
  EXPECT(citygate_terminal_next_batch(gate, 0, small, sizeof small, &length, NULL, &error), "abi.sign");
  if (citygate_close(gate, &error) != CITYGATE_OK) printf("close\n"), failures++;
  printf("%d failures\n", failures);
  return failures != 0;
}
