// The pictures of the published vectors, read back by a decoder that shares no
// code with the encoder: ZXing-C++ compiled to WebAssembly.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import test from "node:test";
import { prepareZXingModule, readBarcodes } from "zxing-wasm/reader";

const vectors = new URL("../../../code/ct1/testdata/", import.meta.url);
const wasm = createRequire(import.meta.url).resolve("zxing-wasm/reader/zxing_reader.wasm");

test("every picture holds what its case says was scanned", async () => {
  prepareZXingModule({ overrides: { wasmBinary: await readFile(wasm) } }); // not from the network
  const { cases } = JSON.parse(await readFile(new URL("vectors.json", vectors), "utf8"));
  const pictured = cases.filter((c) => c.qr);
  assert.equal(pictured.length, 50);
  for (const c of pictured) {
    const found = await readBarcodes(await readFile(new URL(c.qr, vectors)), { formats: ["QRCode"] });
    assert.equal(found.length, 1, `${c.id}: ${found.length} symbols`);
    assert.equal(Buffer.from(found[0].bytes).toString("hex"), c.scanned_hex, c.id);
  }
});
