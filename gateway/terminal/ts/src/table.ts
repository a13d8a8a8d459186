/**
 * The decision table AT1 of an operator's rules and limits: the same as
 * policies/accept/table.go, held to the same corpus. Whole numbers are of 64 bits,
 * so they are bigints here.
 */

/** What is known of a rider's earlier taps at this reader, this tap counted in. Leave it out where nobody remembers. */
export interface Memory {
  dayTaps: bigint;
  dayAmount: bigint;
  hourTaps: bigint;
  /** Seconds; 2^63 - 1 without an earlier tap. */
  sinceLast: bigint;
}

/** One tap as a table sees it. */
export interface Situation {
  /** Unix milliseconds. */
  at: bigint;
  clockOK: boolean;
  scheme: string;
  mode: string;
  kind: string;
  medium: string;
  currency: string;
  stop: string;
  route: string;
  issuer: bigint;
  product: bigint;
  party: bigint;
  amount: bigint;
  counter: bigint;
  /** Minutes since the credential was issued. */
  credentialAge: bigint;
  memory?: Memory;
}

export type Effect = "accept" | "refuse" | "limit";

export interface Answer {
  effect: Effect;
  /** The rule that decided; "" if none did. */
  rule: string;
}

interface Test {
  fact: number;
  spans: [bigint, bigint][];
}

interface Row {
  id: string;
  effect: Effect;
  remembers: boolean;
  any: Test[][];
}

const effects: readonly Effect[] = ["accept", "refuse", "limit"];
const facts = 21;
const firstRemembered = 17;
const dayLength = 86_400n;

/** Reads the encoding; every bound and order is checked, as a table comes from a file. */
class Reader {
  #at = 0;
  readonly #raw: Uint8Array;

  constructor(raw: Uint8Array) {
    this.#raw = raw;
  }

  get left(): number {
    return this.#raw.length - this.#at;
  }

  byte(): number {
    const b = this.#raw[this.#at++];
    if (b === undefined) throw new Error("table: cut short");
    return b;
  }

  unsigned(): bigint {
    let x = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const b = this.byte();
      if (shift === 63n && b > 1) throw new Error("table: a number of more than 64 bits");
      if (b === 0 && shift > 0n) throw new Error("table: a number in a longer form");
      x |= BigInt(b & 0x7f) << shift;
      if (b < 0x80) return x;
    }
  }

  signed(): bigint {
    const x = this.unsigned();
    return x & 1n ? -(x >> 1n) - 1n : x >> 1n;
  }

  count(most: number): number {
    const n = this.unsigned();
    if (n > BigInt(most) || n > BigInt(this.left)) throw new Error("table: a count beyond its bound");
    return Number(n);
  }

  text(): string {
    const n = this.count(64);
    const bytes = this.#raw.subarray(this.#at, this.#at + n);
    this.#at += n;
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  }
}

function times<T>(n: number, make: () => T): T[] {
  return Array.from({ length: n }, make);
}

/** A decision table. It does not change and may be used by concurrent calls. */
export class Table {
  readonly #zone: { at: bigint; offset: bigint }[] = [];
  readonly #texts: Map<string, bigint>;
  readonly #rows: Row[];

  /** Takes the table as rules carry it: base64. Throws what is not in its one form. */
  constructor(base64: string) {
    const raw = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    if (raw.length > 16 << 10 || String.fromCharCode(...raw.subarray(0, 3)) !== "AT1") throw new Error("table: want AT1 and at most 16384 bytes");
    const r = new Reader(raw.subarray(3));
    let at = 0n;
    for (let n = r.count(64); n > 0; n--) {
      at += r.signed();
      this.#zone.push({ at, offset: r.signed() });
    }
    if (this.#zone.length === 0) throw new Error("table: no time zone");
    const texts = times(r.count(1024), () => r.text());
    this.#texts = new Map(texts.map((text, i) => [text, BigInt(i)]));
    if (this.#texts.size !== texts.length) throw new Error("table: a text twice");
    this.#rows = times(r.count(128), () => {
      const id = r.text();
      const effect = effects[r.byte()];
      if (effect === undefined) throw new Error("table: an effect that is not known");
      const any = times(r.count(64), () => times(r.count(facts), () => test(r)));
      return { id, effect, any, remembers: any.some((all) => all.some((t) => t.fact >= firstRemembered)) };
    });
    if (r.left !== 0) throw new Error("table: bytes after its end");
  }

  /** Decides on one tap. Without a rule that matches it is accepted. */
  decide(s: Situation): Answer {
    const values = this.#load(s);
    let rule = "";
    let settled = false;
    for (const row of this.#rows) {
      if ((settled && row.effect !== "limit") || (row.remembers && s.memory === undefined) || !holds(row, values)) continue;
      if (row.effect !== "accept") return { effect: row.effect, rule: row.id };
      rule = row.id;
      settled = true;
    }
    return { effect: "accept", rule };
  }

  #load(s: Situation): bigint[] {
    const text = (value: string) => this.#texts.get(value) ?? -1n;
    const { day, second } = this.#local(s.at);
    const m = s.memory;
    return [
      text(s.scheme), s.issuer, s.product, text(s.mode), text(s.kind), text(s.medium), s.party, s.amount, text(s.currency),
      s.clockOK ? 1n : 0n, second / 60n, modulo(day + 3n, 7n) + 1n, civil(day), text(s.stop), text(s.route), s.counter, s.credentialAge,
      m?.dayTaps ?? 0n, m?.dayAmount ?? 0n, m?.hourTaps ?? 0n, m?.sinceLast ?? 0n,
    ];
  }

  #local(at: bigint): { day: bigint; second: bigint } {
    const seconds = floor(at, 1000n);
    let offset = this.#zone[0]?.offset ?? 0n;
    for (const shift of this.#zone) if (shift.at <= seconds) offset = shift.offset;
    const day = floor(seconds + offset, dayLength);
    return { day, second: seconds + offset - day * dayLength };
  }
}

function test(r: Reader): Test {
  const fact = r.byte();
  if (fact >= facts) throw new Error("table: a fact that is not known");
  return {
    fact,
    spans: times(r.count(4096), () => {
      const lo = r.signed();
      return [lo, lo + r.unsigned()];
    }),
  };
}

function holds(row: Row, values: bigint[]): boolean {
  return row.any.some((all) => all.every((t) => {
    const x = values[t.fact] ?? 0n;
    return t.spans.some(([lo, hi]) => lo <= x && x <= hi);
  }));
}

function floor(a: bigint, b: bigint): bigint {
  const q = a / b;
  return a % b < 0n ? q - 1n : q;
}

function modulo(a: bigint, b: bigint): bigint {
  return a - floor(a, b) * b;
}

/** Gives the Gregorian date of a day since 1970 as yyyymmdd. */
function civil(since1970: bigint): bigint {
  const day = since1970 + 719_468n;
  const era = floor(day, 146_097n);
  const doe = day - era * 146_097n;
  const yoe = (doe - doe / 1460n + doe / 36_524n - doe / 146_096n) / 365n;
  const doy = doe - (365n * yoe + yoe / 4n - yoe / 100n);
  const mp = (5n * doy + 2n) / 153n;
  const month = mp < 10n ? mp + 3n : mp - 9n;
  const year = yoe + era * 400n + (mp < 10n ? 0n : 1n);
  return year * 10_000n + month * 100n + doy - (153n * mp + 2n) / 5n + 1n;
}
