/*
 * The offline terminal of Citygate for programs that are not written in Go.
 *
 * Build the library with
 *   go build -buildmode=c-shared -o libcitygate_terminal.so ./gateway/terminal/cabi
 * and link with -lcitygate_terminal. Functions may be called from any thread.
 *
 * Every function gives CITYGATE_OK, or another value and then fills in *error,
 * which may be NULL. A function that did not give CITYGATE_OK opened no gate:
 * citygate_verdict.open is 0 whatever happened. Nothing given to a function is
 * kept after it returned, except where it says so. Strings are UTF-8 and end
 * with a zero byte; NULL is the empty string. Pointers with a length may be NULL
 * when the length is 0.
 *
 * Times are unix milliseconds by the caller's clock. The library asks nobody for
 * the time and uses no network; citygate_terminal_open alone touches files.
 */
#ifndef CITYGATE_TERMINAL_H
#define CITYGATE_TERMINAL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface. It changes when a program compiled against an
 * older header would go wrong; citygate_abi() gives the library's own. */
#define CITYGATE_ABI 2

/* What functions give. CITYGATE_FAILED: see the error. CITYGATE_TOO_SMALL: the
 * buffer is; *length says what is needed. */
#define CITYGATE_OK 0
#define CITYGATE_FAILED 1
#define CITYGATE_TOO_SMALL 2

/* What a rider did at the reader. */
#define CITYGATE_ON 1
#define CITYGATE_OFF 2
#define CITYGATE_SINGLE 3

/* Where the terminal's time came from. */
#define CITYGATE_CLOCK_UNKNOWN 0 /* a lower bound of the true time */
#define CITYGATE_CLOCK_GNSS 1
#define CITYGATE_CLOCK_NETWORK 2
#define CITYGATE_CLOCK_RTC 3

/* A decider, a table or a terminal; 0 is none. */
typedef uint64_t citygate_handle;

typedef struct {
  char code[48];     /* stable, for programs: "terminal.journal" */
  char message[256]; /* for people; cut when longer */
} citygate_error;

/* What the caller knows about one presentation. Set all of it to zero first. */
typedef struct {
  const uint8_t *scanned; /* what the reader gave: bytes, or the text form of a code */
  size_t scanned_length;
  int64_t at_ms;
  uint64_t monotonic_ms; /* since boot; deciders do not use it */
  int32_t clock;         /* CITYGATE_CLOCK_... */
  int32_t kind;          /* CITYGATE_ON ... */
  int64_t fare_minor;    /* with fare_currency: what the tap costs */
  const char *fare_currency; /* three letters; NULL = the fare is not known here */
  uint64_t tariff_version;
  uint16_t context;      /* vehicle binding, 0 = none */
  uint8_t trust_expired; /* deciders only: a terminal knows */
  uint8_t riders;        /* entered by the operator, at most 15; 0 = as the code says */
  const char *stop, *route; /* where the reader is: rules may ask */
  const char *trip, *vehicle, *driver, *shift; /* deciders do not use them */
} citygate_tap;

typedef struct {
  int32_t open;      /* 1: let the rider through */
  char outcome[8];   /* "accept" or "reject" */
  char reason[32];   /* why not: the words of the Go package gateway/code; "" when open */
  char strength[16]; /* what an accepted code rests on; a terminal leaves it empty */
  uint16_t issuer, list; /* the rider, when the code could be read */
  uint32_t index;
  uint16_t counter;
  uint8_t party;
  uint64_t sequence; /* number of the record in the terminal's journal */
  char rule[48];     /* the operator's rule or limit that decided; "" when none did */
} citygate_verdict;

/* What the operator's decision table does to a tap. */
#define CITYGATE_TABLE_ACCEPT 0
#define CITYGATE_TABLE_REFUSE 1
#define CITYGATE_TABLE_LIMIT 2

/* One tap as a decision table sees it. Texts that are not known are NULL, amounts 0. */
typedef struct {
  int64_t at_ms;
  int32_t clock_ok;
  int32_t remembers; /* 1: the last four are known; 0: limits that ask for them are passed over */
  const char *scheme, *mode, *kind, *medium, *currency, *stop, *route;
  int64_t issuer, product, party, amount, counter;
  int64_t credential_age; /* minutes since it was issued */
  int64_t day_taps, day_amount, hour_taps; /* of this rider here, this tap counted in */
  int64_t since_last; /* seconds; INT64_MAX without an earlier tap */
} citygate_facts;

typedef struct {
  int32_t effect; /* CITYGATE_TABLE_...; refuse when the call failed */
  char rule[48];  /* what decided; "" when nothing did */
} citygate_answer;

/*
 * Signs length bytes with the terminal's own Ed25519 key, which may be in secure
 * hardware, and gives 0. It is called by citygate_terminal_next_batch alone, in
 * the caller's thread.
 */
typedef int32_t (*citygate_sign)(void *user, const uint8_t *message, size_t length, uint8_t signature[64]);

#ifndef CITYGATE_BUILDING_LIBRARY

/* Gives CITYGATE_ABI of the library that is loaded. */
int32_t citygate_abi(void);

/*
 * A decider answers presentations and keeps nothing: for an inspector's handheld,
 * or where journal and lists live elsewhere. setup is JSON:
 *
 *   {"rules": the acceptance policy of the operator, as its trust bundle carries it,
 *    "mode": "bus",
 *    "keys": [{"issuer":7,"kid":1,"alg":"ed25519|es256|sm2","public_hex":"..",
 *              "not_before":0,"expires":4294967296,"revoked":false}],
 *    "lists": [{"issuer":7,"list":1,"built_at":..,"known_at":..,"valid_until":..,"issued":900,"denied":[3,14]}],
 *    "seen": [{"issuer":7,"list":1,"index":3,"counter":9}]}
 *
 * keys: public_hex is 32 bytes of Ed25519 or a compressed point; not_before and
 * expires (exclusive) are unix seconds that the credential's time of issue is
 * held against. A list was last known to be the newest at known_at (built_at, or
 * a later heartbeat) and knows the indices below issued. seen are displays
 * accepted before.
 */
int32_t citygate_decider_open(const char *setup, citygate_handle *decider, citygate_error *error);

int32_t citygate_decide(citygate_handle decider, const citygate_tap *tap, citygate_verdict *verdict, citygate_error *error);

/*
 * A terminal is the whole SDK: trust bundle and deny lists, a clock that never
 * goes back, replay memory, and a journal in directory, on disk before a gate
 * opens. One directory belongs to one terminal at a time. setup is JSON:
 *
 *   {"tenant": 12, "terminal": key id of the terminal, "mode": "bus", "software": "acme-4.2",
 *    "boot_id": another number after each start,
 *    "roots_hex": ["platform root key", ..], "threshold": 2}
 *
 * sign and user are kept until the terminal is closed.
 */
int32_t citygate_terminal_open(const char *directory, const char *setup, citygate_sign sign, void *user,
                               citygate_handle *terminal, citygate_error *error);

/* Verifies a trust bundle, or what an issuer publishes for its deny lists (a
 * snapshot, a delta or a heartbeat), and then trusts it. A refused one changes
 * nothing. */
int32_t citygate_terminal_install_bundle(citygate_handle terminal, int64_t now_ms, const uint8_t *bundle, size_t length, citygate_error *error);
int32_t citygate_terminal_install_list(citygate_handle terminal, int64_t now_ms, const uint8_t *list, size_t length, citygate_error *error);

/* Decides on one presentation. The record is on disk when this returns. */
int32_t citygate_terminal_tap(citygate_handle terminal, const citygate_tap *tap, citygate_verdict *verdict, citygate_error *error);

/* Puts the signed batch to upload into buffer and its size into *length, 0 when
 * there is nothing to send; limit bounds its taps, 0 = as many as a batch may
 * hold. Until it is acknowledged the same bytes come again, also after a crash.
 * hash, 32 bytes, names the batch to citygate_terminal_ack; it may be NULL. */
int32_t citygate_terminal_next_batch(citygate_handle terminal, int32_t limit, uint8_t *buffer, size_t capacity, size_t *length, uint8_t *hash, citygate_error *error);

/* Records that the gateway has the batch, on disk. */
int32_t citygate_terminal_ack(citygate_handle terminal, const uint8_t *hash, citygate_error *error);

/* Gives the number of records the gateway has not acknowledged. */
int32_t citygate_terminal_pending(citygate_handle terminal, int64_t *pending, citygate_error *error);

/*
 * A table is the operator's rules and limits alone, as the policy in its trust
 * bundle carries them (base64), for a program that does the rest by itself.
 * Deciders and terminals ask theirs on their own.
 */
int32_t citygate_table_open(const char *base64, citygate_handle *table, citygate_error *error);

int32_t citygate_table_decide(citygate_handle table, const citygate_facts *facts, citygate_answer *answer, citygate_error *error);

/* Closes a decider, a table or a terminal. The handle is used up, also on an error. */
int32_t citygate_close(citygate_handle handle, citygate_error *error);

#endif /* CITYGATE_BUILDING_LIBRARY */

#ifdef __cplusplus
}
#endif

#endif /* CITYGATE_TERMINAL_H */
