import type { Bytes } from "./types.js";

// A chain of 5,760 links through WebCrypto's digest, which answers through a
// promise, takes over 100 ms; a block of SHA-256 here takes a microsecond. It
// hashes public values only. The tests hold it to WebCrypto's answers.

const context = new TextEncoder().encode("CT1-chain\0");

const K = new Uint32Array(64);
const H = new Uint32Array(8);
{
  // The first 32 bits of the fractional parts of the cube and square roots of the primes.
  const root = (n: bigint, power: bigint): bigint => {
    const wanted = n << (32n * power);
    let low = 0n;
    let high = 1n << 40n;
    while (high - low > 1n) {
      const middle = (low + high) >> 1n;
      if (middle ** power <= wanted) low = middle;
      else high = middle;
    }
    return low & 0xffffffffn;
  };
  let at = 0;
  for (let n = 2; at < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) prime &&= n % d !== 0;
    if (!prime) continue;
    K[at] = Number(root(BigInt(n), 3n));
    if (at < 8) H[at] = Number(root(BigInt(n), 2n));
    at++;
  }
}

const rotate = (x: number, n: number): number => (x >>> n) | (x << (32 - n));

/** Hashes w[0..15], one padded block, and leaves the sum in out. */
function block(w: Uint32Array, out: Uint32Array): void {
  const at = (list: Uint32Array, i: number): number => list[i] as number;
  for (let i = 16; i < 64; i++) {
    const s0 = rotate(at(w, i - 15), 7) ^ rotate(at(w, i - 15), 18) ^ (at(w, i - 15) >>> 3);
    const s1 = rotate(at(w, i - 2), 17) ^ rotate(at(w, i - 2), 19) ^ (at(w, i - 2) >>> 10);
    w[i] = at(w, i - 16) + s0 + at(w, i - 7) + s1;
  }
  out.set(H);
  let [a, b, c, d, e, f, g, h] = out as unknown as [number, number, number, number, number, number, number, number];
  for (let i = 0; i < 64; i++) {
    const t1 = (h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + at(K, i) + at(w, i)) | 0;
    const t2 = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((v, i) => (out[i] = at(out, i) + v));
}

/** Hashes the value at one position of a chain down to another: see the Go package's ChainAnchor. */
export function chainDown(value: Uint8Array, from: number, to: number): Bytes {
  const size = context.length + 4 + 16;
  const message = new Uint8Array(64);
  const words = new DataView(message.buffer);
  message.set(context);
  message.set(value, context.length + 4);
  message[size] = 0x80;
  words.setUint32(60, size * 8);
  const w = new Uint32Array(64);
  const sum = new Uint32Array(8);
  for (let k = from; k > to; k--) {
    words.setUint32(context.length, k);
    for (let i = 0; i < 16; i++) w[i] = words.getUint32(4 * i);
    block(w, sum);
    for (let i = 0; i < 4; i++) words.setUint32(context.length + 4 + 4 * i, sum[i] as number);
  }
  return message.slice(context.length + 4, size);
}
