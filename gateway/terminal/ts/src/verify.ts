import { chainDown } from "./chain.js";
import { Refusal, toBigInt } from "./parse.js";
import type { Bytes, Code, IssuerKey, Strength } from "./types.js";

const p = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

const utf8 = new TextEncoder();
const credentialContext = utf8.encode("CT1-cred\0");
const displayContext = utf8.encode("CT1-dyn\0");

/** What an issuer's signature vouched for: a device key, or a link of a hash chain. */
export type Device = { key: CryptoKey } | { at: number; value: Bytes };

function concat(...parts: Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function equal(a: Uint8Array, c: Uint8Array): boolean {
  return a.length === c.length && a.every((v, i) => v === c[i]);
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let e = exponent; e > 0n; e >>= 1n) {
    if (e & 1n) result = (result * base) % p;
    base = (base * base) % p;
  }
  return result;
}

/** Gives the uncompressed form of a point of P-256; undefined if there is none. Only the raw form without compression is in every WebCrypto. */
export function decompress(key: Uint8Array): Bytes | undefined {
  if (key.length !== 33 || (key[0] !== 2 && key[0] !== 3)) return undefined;
  const x = toBigInt(key.subarray(1));
  if (x >= p) return undefined;
  const square = (((x * x) % p) * x + (p - 3n) * x + b) % p;
  let y = power(square, (p + 1n) / 4n);
  if ((y * y) % p !== square) return undefined;
  if ((y & 1n) !== BigInt(key[0] & 1)) y = p - y;
  const hex = y.toString(16).padStart(64, "0");
  const out = new Uint8Array(65);
  out[0] = 4;
  out.set(key.subarray(1), 1);
  for (let i = 0; i < 32; i++) out[33 + i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}

async function importPoint(key: Uint8Array): Promise<CryptoKey | undefined> {
  const point = decompress(key);
  if (point === undefined) return undefined;
  return crypto.subtle.importKey("raw", point, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
}

function importEd25519(key: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", new Uint8Array(key), { name: "Ed25519" }, false, ["verify"]);
}

async function holds(key: CryptoKey, message: Bytes, signature: Bytes): Promise<boolean> {
  const algorithm = key.algorithm.name === "ECDSA" ? { name: "ECDSA", hash: "SHA-256" } : { name: "Ed25519" };
  return crypto.subtle.verify(algorithm, key, signature, message);
}

/** Checks the issuer's signature with a key of the suite's own algorithm, then gives the device key. */
export async function verifyCredential(c: Code, key: IssuerKey): Promise<Device> {
  if (key.alg !== (c.suite === 1 ? "es256" : "ed25519")) throw new Refusal("unsupported");
  const issuer = key.alg === "es256" ? await importPoint(key.publicKey) : await importEd25519(key.publicKey);
  if (issuer === undefined) throw new Refusal("unsupported");
  const signed = c.credential.length - 64;
  if (!(await holds(issuer, concat(credentialContext, c.credential.subarray(0, signed)), c.credential.slice(signed)))) {
    throw new Refusal("bad_issuer_signature");
  }
  // Only now: before, the key is anybody's claim and not worth a square root.
  if (c.suite === 4) return { at: 0, value: c.deviceKey };
  if (c.suite === 0) {
    // A key that is no point verifies nothing; some engines say so at import.
    const device = await importEd25519(c.deviceKey).catch(() => undefined);
    if (device === undefined) throw new Refusal("bad_device_signature");
    return { key: device };
  }
  const device = await importPoint(c.deviceKey);
  if (device === undefined) throw new Refusal("malformed");
  return { key: device };
}

/** Checks part B. For a hash chain it gives the link that held, which shortens the next way. */
export async function verifyDisplay(c: Code, device: Device): Promise<Device> {
  if ("key" in device) {
    const signed = c.raw.length - c.proof.length;
    if (!(await holds(device.key, concat(displayContext, c.raw.subarray(0, signed)), c.proof))) {
      throw new Refusal("bad_device_signature");
    }
    return device;
  }
  const own = { at: c.counter + 1, value: c.proof };
  const known = own.at < device.at ? { at: 0, value: c.deviceKey } : device;
  if (!equal(chainDown(own.value, own.at, known.at), known.value)) throw new Refusal("bad_secret");
  return own.at > device.at ? own : device;
}

export function strength(c: Code): Strength {
  if (c.suite === 4) return "secret_bound";
  return c.medium === 2 ? "static_signed" : "device_bound"; // 2: made ahead by a server
}
