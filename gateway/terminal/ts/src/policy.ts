import { type Answer, Table } from "./table.js";
import type { Code, DenyList, Reason, Rules, Tap } from "./types.js";

/** Gives the version of the rules that holds at an event time. */
export function inForce(rules: Rules, at: number): Rules {
  let r = rules;
  while (r.prior !== undefined && at < (r.from ?? 0)) r = r.prior;
  return r;
}

const tables = new WeakMap<Rules, Table>();

/** Asks the operator's rules and limits, which come after every other check that needs no key and no list. */
export function byTable(rules: Rules, c: Code, tap: Tap): Answer {
  if (rules.table === undefined) return { effect: "accept", rule: "" };
  let table = tables.get(rules);
  if (table === undefined) tables.set(rules, (table = new Table(rules.table)));
  return table.decide({
    at: BigInt(Math.floor(tap.at)), clockOK: tap.clockOK, scheme: "ct1", mode: tap.mode, kind: tap.kind,
    medium: ["phone", "band", "server"][c.medium] ?? "other", currency: tap.fare?.currency ?? "", stop: tap.stop ?? "", route: tap.route ?? "",
    issuer: BigInt(c.issuer), product: BigInt(c.product), party: BigInt(Math.max(c.party, tap.riders ?? 0)), amount: BigInt(tap.fare?.minor ?? 0), counter: BigInt(c.counter),
    credentialAge: BigInt(Math.max(0, Math.trunc((Math.floor(tap.at / 1000) - c.issuedAt) / 60))),
    ...(tap.memory && { memory: tap.memory }),
  });
}

/** Runs every check that needs neither a key nor a list, in the order of the reader. */
export function beforeSignatures(rules: Rules, c: Code, tap: Tap): Reason | "" {
  if (!rules.schemes.includes("ct1")) return "unsupported";
  const issuer = rules.issuers.find((r) => r.issuer === c.issuer);
  if (issuer === undefined) return "unknown_issuer";
  if (tap.trustExpired === true) return "issuer_cert_expired";
  const reason = times(rules, c, tap);
  if (reason !== "") return reason;
  const place = rules.modes.some(
    (m) => m.mode === tap.mode && m.kinds.includes(tap.kind) && (m.products.length === 0 || m.products.includes(c.product)),
  );
  if (!place) return "product_not_valid_here";
  const context = tap.context ?? 0;
  if (c.context !== 0 && context !== 0 && c.context !== context) return "wrong_vehicle";
  if (tap.fare !== undefined) {
    if (tap.fare.currency !== issuer.currency) return "product_not_valid_here";
    let limit = BigInt(c.cap) * BigInt(issuer.cap_unit_minor); // may be above 2^53
    const unsure = BigInt(issuer.unsure_cap_minor);
    if (!tap.clockOK && unsure > 0n && unsure < limit) limit = unsure;
    // A fare that is no whole number is above every cap.
    if (!Number.isSafeInteger(tap.fare.minor) || tap.fare.minor < 0 || BigInt(tap.fare.minor) > limit) return "amount_over_cap";
  }
  if (c.taps !== 0 && c.counter > c.taps) return "taps_exhausted";
  return "";
}

function times(rules: Rules, c: Code, tap: Tap): Reason | "" {
  const skew = rules.skew_seconds * 1000;
  if (c.expiresAt <= c.issuedAt || c.expiresAt - c.issuedAt > rules.max_ttl_hours * 3600) return "expired_credential";
  if (tap.at >= c.expiresAt * 1000 || c.generatedAt >= c.expiresAt) return "expired_credential";
  const window = Math.min(c.window, rules.max_window_seconds) * 1000;
  // Written so that a time that is not a number is refused.
  if (!(tap.at <= c.generatedAt * 1000 + window + skew)) return "expired_code";
  if (tap.clockOK && c.generatedAt * 1000 > tap.at + skew) return "not_yet_valid"; // made at issue or later
  return "";
}

/** How long after its issue a credential must show in a list, in seconds. */
const issueSettles = 15 * 60;

/** Looks the rider up; being on a list counts before the list's age. */
export function standing(rules: Rules, lists: readonly DenyList[], c: Code, tap: Tap): Reason | "" {
  const list = lists.find((l) => l.issuer === c.issuer && l.list === c.list);
  if (list !== undefined) {
    if (list.denied(c.index)) return "denied";
    if (c.index >= list.issued && c.issuedAt + issueSettles < list.builtAt) return "not_issued";
  }
  return freshness(rules, c, tap, list);
}

/**
 * A rider was good when the list that lacks him was the newest, and when his
 * credential was issued. The later of the two counts: all is well for a while
 * after it, then a lower cap applies, then nothing does.
 */
function freshness(rules: Rules, c: Code, tap: Tap, list: DenyList | undefined): Reason | "" {
  const seconds = Math.floor(tap.at / 1000);
  const usable = list !== undefined && seconds < list.validUntil;
  if (list === undefined && rules.missing_list_ok) return "";
  if (rules.stale_list_seconds === 0) return usable ? "" : "stale_list";
  const age = seconds - (usable ? Math.max(c.issuedAt, list.knownAt) : c.issuedAt);
  if (age <= rules.stale_list_seconds) return "";
  if (age > (rules.stale_limit_seconds ?? 0)) return "stale_list";
  const cap = rules.issuers.find((r) => r.issuer === c.issuer)?.stale_cap_minor ?? 0;
  return tap.fare !== undefined && cap > 0 && tap.fare.minor > cap ? "amount_over_cap" : "";
}
