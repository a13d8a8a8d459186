/**
 * Verifies Citygate CT1 ride codes offline, with WebCrypto and nothing else.
 *
 * The order of checks, the reasons and every boundary are those of the Go
 * package gateway/code/ct1, held by its published vectors.
 */
import { decode, parse, Refusal } from "./parse.js";
import { beforeSignatures, byTable, inForce, standing } from "./policy.js";
import type { Bytes, Code, DenyList, IssuerKey, Reason, Rules, Tap, Use, Verdict } from "./types.js";
import { type Device, strength, verifyCredential, verifyDisplay } from "./verify.js";

export type { Memory } from "./table.js";
export type { Bytes, Code, DenyList, IssuerKey, Outcome, Reason, Rules, Strength, Tap, Use, Verdict } from "./types.js";

/** What a verifier trusts. It must not be changed while it is in use; make another verifier instead. */
export interface Trust {
  rules: Rules;
  keys: readonly IssuerKey[];
  /** Default none: then the rules say whether a list may be missing. */
  lists?: readonly DenyList[];
  /**
   * Reports whether a display was accepted here before. Remembering the ones that
   * were, until window and twice the largest skew are over, is the caller's duty,
   * and so is a journal: this package keeps nothing on disk.
   */
  seen?: (use: Use) => boolean;
  /** Credentials whose issuer's signature held and that are remembered; default 1024. */
  remember?: number;
}

/** Decides on presentations. Safe for concurrent calls. */
export class Verifier {
  readonly #trust: Trust;
  readonly #held = new Map<string, Device>();

  constructor(trust: Trust) {
    this.#trust = trust;
  }

  /** Answers one presentation: what a reader scanned, as bytes or as the text form. It never throws for what was scanned. */
  async decide(scanned: Uint8Array, tap: Tap): Promise<Verdict> {
    let code: Code | undefined;
    try {
      code = parse(decode(scanned));
      const rule = await this.#check(code, tap);
      return { outcome: "accept", reason: "", ...(rule !== "" && { rule }), strength: strength(code), code };
    } catch (err) {
      if (!(err instanceof Refusal)) throw err; // a fault of this program or its crypto: the gate stays shut
      return { outcome: "reject", reason: err.reason, ...(err.rule !== undefined && { rule: err.rule }), strength: "unverified", ...(code && { code }) };
    }
  }

  async #check(c: Code, tap: Tap): Promise<string> {
    const { lists = [], seen } = this.#trust;
    const rules = inForce(this.#trust.rules, tap.at);
    refuse(beforeSignatures(rules, c, tap));
    const { effect, rule } = byTable(rules, c, tap);
    if (effect !== "accept") throw new Refusal(effect === "limit" ? "over_limit" : "policy_refused", rule);
    refuse(standing(rules, lists, c, tap));
    if (seen?.({ issuer: c.issuer, list: c.list, index: c.index, counter: c.counter })) refuse("replayed");
    const name = await fingerprint(c.credential);
    let device = this.#held.get(name);
    if (device === undefined) {
      device = await verifyCredential(c, this.#key(c));
      this.#remember(name, device);
    }
    this.#remember(name, await verifyDisplay(c, device));
    return rule;
  }

  /** Finds the issuer's key that may have signed at the credential's time of issue. */
  #key(c: Code): IssuerKey {
    const ofIssuer = this.#trust.keys.filter((k) => k.issuer === c.issuer);
    if (ofIssuer.length === 0) throw new Refusal("unknown_issuer");
    const key = ofIssuer.find((k) => k.kid === c.kid);
    if (key === undefined) throw new Refusal("unknown_key");
    if (key.revoked || c.issuedAt >= key.expires) throw new Refusal("key_revoked");
    if (c.issuedAt < key.notBefore) throw new Refusal("unknown_key");
    return key;
  }

  #remember(name: string, device: Device): void {
    this.#held.delete(name); // the one shown last goes to the end
    this.#held.set(name, device);
    for (const oldest of this.#held.keys()) {
      if (this.#held.size <= (this.#trust.remember ?? 1024)) break;
      this.#held.delete(oldest);
    }
  }
}

function refuse(reason: Reason | ""): void {
  if (reason !== "") throw new Refusal(reason);
}

async function fingerprint(credential: Bytes): Promise<string> {
  return String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-256", credential)));
}
