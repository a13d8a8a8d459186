import type { Code, DenyList, Reason, Rules, Tap } from "./types.js";

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

/** Looks the rider up; being on a list counts before the list's age. */
export function listReason(rules: Rules, lists: readonly DenyList[], c: Code, at: number): Reason | "" {
  const list = lists.find((l) => l.issuer === c.issuer && l.list === c.list);
  if (list === undefined) return rules.missing_list_ok ? "" : "stale_list";
  if (list.denied(c.index)) return "denied";
  const seconds = Math.floor(at / 1000);
  if (seconds >= list.validUntil) return "stale_list";
  if (rules.stale_list_seconds > 0 && seconds - list.builtAt > rules.stale_list_seconds) return "stale_list";
  return "";
}
