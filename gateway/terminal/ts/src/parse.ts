import type { Bytes, Code, Reason } from "./types.js";

/** A refusal inside the package; {@link Verifier.decide} turns it into a verdict. */
export class Refusal extends Error {
  constructor(
    readonly reason: Reason,
    /** The operator's rule that refused. */
    readonly rule?: string,
  ) {
    super(reason);
  }
}

const prefix = "CT1:";
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
const fixed = 23; // bytes of part A before the device key
const sigSize = 64;
const dynSize = 8; // of part B before the proof
const maxExt = 21;
const maxSize = fixed + 33 + 1 + maxExt + sigSize + dynSize + sigSize;
const maxText = prefix.length + ((maxSize + 1) >> 1) * 3;
export const chainMax = 5760; // slots
const chainFlags = 0x19; // a party of one, clock unknown, band

const keySize = [32, 33, 33, 33, 16];
const proofSize = [64, 64, 64, 64, 16];

const p256Prime = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const p256HalfOrder = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n >> 1n;

export function toBigInt(bytes: Uint8Array): bigint {
  let n = 0n;
  for (const b of bytes) n = (n << 8n) | BigInt(b);
  return n;
}

/** Gives the bytes of what a reader scanned: as they are, or decoded from the text form. */
export function decode(scanned: Uint8Array): Bytes {
  for (let i = 0; i < prefix.length; i++) {
    if (scanned[i] !== prefix.charCodeAt(i)) return new Uint8Array(scanned);
  }
  if (scanned.length > maxText) throw new Refusal("malformed");
  const out: number[] = [];
  for (let at = prefix.length; at < scanned.length; at += 3) {
    const group = scanned.subarray(at, at + 3);
    let n = 0;
    let weight = 1;
    for (const ch of group) {
      const value = alphabet.indexOf(String.fromCharCode(ch));
      if (value < 0) throw new Refusal("malformed");
      n += value * weight;
      weight *= 45;
    }
    if (group.length === 3 && n <= 0xffff) out.push(n >> 8, n & 0xff);
    else if (group.length === 2 && n <= 0xff) out.push(n);
    else throw new Refusal("malformed");
  }
  return new Uint8Array(out);
}

/** Reads a code: bounds and canonical form, no key and no clock. */
export function parse(raw: Bytes): Code {
  if (raw.length === 0 || raw[0] !== 0x7d) throw new Refusal("unsupported");
  const hdr = raw[1];
  if (hdr === undefined) throw new Refusal("malformed");
  const suite = (hdr >> 2) & 7;
  const size = keySize[suite];
  const proof = proofSize[suite];
  // SM2 is in no WebCrypto: a suite this build does not know.
  if (hdr >> 5 !== 1 || suite === 2 || size === undefined || proof === undefined) throw new Refusal("unsupported");
  if ((hdr & 1) !== 0 || raw.length > maxSize) throw new Refusal("malformed");
  let isig = fixed + size;
  if ((hdr & 2) !== 0) isig += extensions(raw, isig);
  const end = isig + sigSize;
  if (raw.length !== end + dynSize + proof) throw new Refusal("malformed");
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const issuedAt = view.getUint32(11);
  const age = view.getUint8(end) * 65536 + view.getUint16(end + 1);
  const flags = view.getUint8(end + 3);
  const code: Code = {
    suite,
    issuer: view.getUint16(2),
    kid: view.getUint8(4),
    list: view.getUint16(5),
    index: view.getUint32(7),
    issuedAt,
    expiresAt: issuedAt + view.getUint16(15) * 3600,
    generatedAt: issuedAt + age,
    window: view.getUint8(22),
    product: view.getUint16(17),
    cap: view.getUint16(19),
    taps: view.getUint8(21),
    counter: view.getUint16(end + 4),
    party: flags >> 4,
    clockQuality: (flags >> 2) & 3,
    medium: flags & 3,
    context: view.getUint16(end + 6),
    credential: raw.slice(0, end),
    deviceKey: raw.slice(fixed, fixed + size),
    proof: raw.slice(end + dynSize),
    raw,
  };
  if (!canonical(code, age, flags, raw.subarray(isig, end))) throw new Refusal("malformed");
  return code;
}

/** Checks the TLVs at raw[at] and gives their size with the length byte. */
function extensions(raw: Bytes, at: number): number {
  const n = raw[at];
  if (n === undefined || n < 1 || n > maxExt || raw.length < at + 1 + n) throw new Refusal("malformed");
  const end = at + 1 + n;
  for (let i = at + 1, last = -1; i < end; ) {
    const type = raw[i] ?? 0;
    const length = raw[i + 1] ?? 0;
    if (end - i < 2 || type <= last || end - i < 2 + length) throw new Refusal("malformed");
    last = type;
    i += 2 + length;
  }
  return 1 + n;
}

/** Reports whether a code has the one form its suite gives it. */
function canonical(c: Code, age: number, flags: number, issuerSignature: Uint8Array): boolean {
  if (c.party === 0 || c.clockQuality === 3) return false;
  if (c.suite === 1 || c.suite === 3) {
    if (c.deviceKey[0] !== 2 && c.deviceKey[0] !== 3) return false;
    if (toBigInt(c.deviceKey.subarray(1)) >= p256Prime) return false;
    if (!lowS(c.proof)) return false;
  }
  if (c.suite === 1 && !lowS(issuerSignature)) return false;
  if (c.suite === 4) {
    // A value proves its slot and nothing else, so nothing else may vary.
    if (c.window === 0 || flags !== chainFlags || c.context !== 0) return false;
    if (c.counter >= chainMax || age !== c.counter * c.window) return false;
  }
  return true;
}

function lowS(signature: Uint8Array): boolean {
  return toBigInt(signature.subarray(32)) <= p256HalfOrder;
}
