import type { Memory } from "./table.js";

/** Bytes over memory of their own: what WebCrypto takes. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** Why a code was refused: the words of the Go package gateway/code. */
export type Reason =
  | "malformed" | "unsupported" | "unknown_issuer" | "unknown_key" | "key_revoked" | "issuer_cert_expired"
  | "bad_issuer_signature" | "bad_device_signature" | "bad_secret" | "expired_credential" | "expired_code"
  | "not_yet_valid" | "amount_over_cap" | "taps_exhausted" | "product_not_valid_here" | "denied" | "stale_list"
  | "not_issued" | "replayed" | "wrong_vehicle" | "policy_refused" | "over_limit";

export type Outcome = "accept" | "reject";

/** What an accepted code rests on; "unverified" when it was refused. */
export type Strength = "device_bound" | "secret_bound" | "static_signed" | "unverified";

export interface Verdict {
  outcome: Outcome;
  /** "" when accepted and only then. */
  reason: Reason | "";
  /** The operator's rule or limit that decided, if one did. */
  rule?: string;
  strength: Strength;
  /** The code, if it could be read at all. A code is not a valid code. */
  code?: Code;
}

/** A parsed code. */
export interface Code {
  suite: number;
  issuer: number;
  kid: number;
  list: number;
  index: number;
  /** Unix seconds; expiresAt is exclusive. */
  issuedAt: number;
  expiresAt: number;
  generatedAt: number;
  window: number;
  product: number;
  /** In the issuer's cap units. */
  cap: number;
  /** Highest counter accepted, 0 = unlimited. */
  taps: number;
  counter: number;
  party: number;
  clockQuality: number;
  medium: number;
  context: number;
  /** All of part A, with the issuer's signature. */
  credential: Bytes;
  deviceKey: Bytes;
  /** The device's signature, or the value of a hash chain. */
  proof: Bytes;
  raw: Bytes;
}

/** An issuer's public key. */
export interface IssuerKey {
  issuer: number;
  kid: number;
  alg: "ed25519" | "es256" | "sm2";
  /** 32 bytes, or a compressed point of 33. */
  publicKey: Uint8Array;
  /** Unix seconds against the credential's time of issue; expires is exclusive. */
  notBefore: number;
  expires: number;
  revoked: boolean;
}

/** The part of an operator's acceptance policy that is needed here, as trust bundles carry it. */
export interface Rules {
  issuers: { issuer: number; currency: string; cap_unit_minor: number; unsure_cap_minor: number; stale_cap_minor?: number }[];
  schemes: string[];
  modes: { mode: string; kinds: string[]; products: number[] }[];
  skew_seconds: number;
  max_window_seconds: number;
  max_ttl_hours: number;
  stale_list_seconds: number;
  stale_limit_seconds?: number;
  missing_list_ok: boolean;
  /** Event time from which these hold, in unix milliseconds; before it prior does. */
  from?: number;
  /** The decision table of rules and limits, in base64. */
  table?: string;
  prior?: Rules;
}

/** A deny list of one issuer. */
export interface DenyList {
  issuer: number;
  list: number;
  /** Unix seconds; knownAt is when it was last known to be the newest, validUntil is exclusive. */
  builtAt: number;
  knownAt: number;
  validUntil: number;
  /** Indices from here up were not issued when it was built. */
  issued: number;
  denied(index: number): boolean;
}

/** A display that was shown, as what it is: never its bytes. */
export interface Use {
  issuer: number;
  list: number;
  index: number;
  counter: number;
}

/** What the validator knows about one presentation. */
export interface Tap {
  /** Unix milliseconds. */
  at: number;
  /** False makes at a lower bound of the true time. */
  clockOK: boolean;
  mode: string;
  kind: string;
  /** In minor units; left out when it is not known at the reader. */
  fare?: { minor: number; currency: string };
  /** How many ride, entered by the operator, at most 15; left out or 0 = as the code says. */
  riders?: number;
  /** Vehicle binding of the reader, 0 = none. */
  context?: number;
  trustExpired?: boolean;
  stop?: string;
  route?: string;
  /** What this reader knows of the rider's earlier taps; limits that ask about them are passed over without it. */
  memory?: Memory;
}
