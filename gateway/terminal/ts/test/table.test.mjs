// The shared corpus of decision tables.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";
import { Table } from "../dist/table.js";

const { tables, cases } = JSON.parse(await readFile(new URL("../../../../policies/accept/testdata/tables.json", import.meta.url), "utf8"));

const situation = (f) => ({
  at: BigInt(f.at), clockOK: f.clock_ok === "true", scheme: f.scheme, mode: f.mode, kind: f.kind, medium: f.medium, currency: f.currency,
  stop: f.stop, route: f.route, issuer: BigInt(f.issuer), product: BigInt(f.product), party: BigInt(f.party), amount: BigInt(f.amount),
  counter: BigInt(f.counter), credentialAge: BigInt(f.credential_age),
  ...(f.day_taps !== undefined && {
    memory: { dayTaps: BigInt(f.day_taps), dayAmount: BigInt(f.day_amount), hourTaps: BigInt(f.hour_taps), sinceLast: BigInt(f.since_last) },
  }),
});

test("every case of the corpus is decided as it must be", () => {
  assert.ok(cases.length >= 200);
  for (const c of cases) {
    assert.deepEqual(new Table(tables[c.table]).decide(situation(c.facts)), { effect: c.want, rule: c.rule }, c.id);
  }
});

test("a table that is cut or longer is refused", () => {
  const whole = Buffer.from(tables.summer, "base64");
  for (let n = 0; n < whole.length; n++) assert.throws(() => new Table(whole.subarray(0, n).toString("base64")), `${n} bytes`);
  assert.throws(() => new Table(Buffer.concat([whole, Buffer.from([0])]).toString("base64")));
});
