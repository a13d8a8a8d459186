// Antom and Alipay+. No outside verifier can be had: the platform publishes no
// Node library, and its Go and Java ones are not in a registry that this project
// may use. This one is written from the protocol's description alone, on
// node:crypto: METHOD SP path LF client.time.body, RSA with SHA-256, Base64, then
// URL-encoded into the header.
import assert from 'node:assert/strict';
import { createSign, createVerify } from 'node:crypto';
import { after, before, test } from 'node:test';
import { call, flip, keysDirectory, listen, sim } from './lib/citygate.mjs';

const text = (method, path, client, time, body) => `${method} ${path}\n${client}.${time}.${body}`;

const sign = (key, ...parts) => `algorithm=RSA256,keyVersion=1,signature=${encodeURIComponent(createSign('RSA-SHA256').update(text(...parts)).sign(key, 'base64'))}`;

// verify reads the header as it is printed: with or without spaces behind commas.
function verify(key, header, ...parts) {
  const at = header?.indexOf('signature=') ?? -1;
  if (at < 0 || !/keyVersion=1\b/.test(header) || !/algorithm=RSA256\b/.test(header)) return false;
  let signature;
  try { signature = decodeURIComponent(header.slice(at + 'signature='.length)); } catch { return false; }
  return createVerify('RSA-SHA256').update(text(...parts)).verify(key, signature, 'base64');
}

let keys, platform, client;

before(async () => {
  keys = keysDirectory();
  platform = await sim('alipayplus', keys);
  client = keys.account().client_id;
});

after(async () => {
  await platform.stop();
  keys.remove();
});

const pay = (id) => ({
  productCode: 'IN_STORE_PAYMENT', paymentRequestId: id, order: { referenceOrderId: id, orderDescription: '公园 & rides', orderAmount: { currency: 'HKD', value: '470' } },
  paymentAmount: { currency: 'HKD', value: '470' }, paymentMethod: { paymentMethodType: 'ALIPAY_HK', paymentMethodId: '288888888888888888' },
  settlementStrategy: { settlementCurrency: 'HKD' },
});

// post sends a request, spoilt after it was signed, and gives the answer with its proof.
async function post(op, content, spoil = (r) => r) {
  const path = `/ams/api/v1/payments/${op}`;
  const time = new Date().toISOString();
  const body = JSON.stringify(content);
  const sent = spoil({ path, client, time, body, signature: sign(keys.read('app_private.pem'), 'POST', path, client, time, body) });
  const response = await fetch(platform.address + sent.path, {
    method: 'POST', body: sent.body,
    headers: { 'Content-Type': 'application/json; charset=UTF-8', 'Client-Id': sent.client, 'Request-Time': sent.time, Signature: sent.signature },
  });
  const raw = await response.text();
  const proof = [response.headers.get('signature'), 'POST', sent.path, response.headers.get('client-id'), response.headers.get('response-time'), raw];
  return { result: JSON.parse(raw).result, answer: JSON.parse(raw), proof, proven: verify(keys.read('provider_public.pem'), ...proof) };
}

test('our simulator takes what this signs, and this takes what it answers', async () => {
  const paid = await post('pay', pay('theirs0001'));
  assert.deepEqual([paid.result.resultStatus, paid.answer.paymentAmount.value, paid.proven], ['S', '470', true]);
  for (let i = 0; i < paid.proof.length; i++) {
    const changed = paid.proof.with(i, flip(paid.proof[i]));
    if (i === 0) changed[0] = paid.proof[0].replace(/signature=.{9}/, (s) => flip(s, s.length - 1));
    assert.ok(!verify(keys.read('provider_public.pem'), ...changed), `part ${i}`);
  }
  const asked = await post('inquiryPayment', { paymentRequestId: 'theirs0001' });
  assert.deepEqual([asked.answer.paymentStatus, asked.proven], ['SUCCESS', true]);
});

test('one flipped byte of a request is refused by our simulator', async () => {
  for (const [name, spoil] of Object.entries({
    body: (r) => ({ ...r, body: r.body.replace('"470"', '"471"') }),
    path: (r) => ({ ...r, path: r.path.replace(/pay$/, 'cancel') }),
    client: (r) => ({ ...r, client: flip(r.client) }),
    time: (r) => ({ ...r, time: flip(r.time) }),
    key: (r) => ({ ...r, signature: r.signature.replace('keyVersion=1', 'keyVersion=2') }),
    signature: (r) => ({ ...r, signature: r.signature.replace(/signature=.{9}/, (s) => flip(s, s.length - 1)) }),
  })) {
    assert.equal((await post('pay', pay('theirs0002'), spoil)).result.resultCode, 'INVALID_SIGNATURE', name);
  }
  assert.equal((await post('inquiryPayment', { paymentRequestId: 'theirs0002' })).result.resultCode, 'ORDER_NOT_EXIST', 'nothing moved');
});

test('this takes what our adapter sends, and no byte else', async () => {
  let sent;
  const server = await listen((r, response) => { sent = r; response.end(''); });
  try {
    const ours = await call('alipayplus', 'pay', server.address, keys, '--biz', JSON.stringify(pay('ours0001')));
    assert.equal(ours.code, 3, ours.out);
    const proof = [sent.headers.signature, 'POST', sent.url, sent.headers['client-id'], sent.headers['request-time'], sent.body];
    assert.ok(verify(keys.read('app_public.pem'), ...proof));
    assert.equal(sent.body, JSON.stringify(pay('ours0001')), 'byte for byte');
    for (let i = 2; i < proof.length; i++) assert.ok(!verify(keys.read('app_public.pem'), ...proof.with(i, flip(proof[i]))), `part ${i}`);
  } finally {
    await server.stop();
  }
});

test('our adapter takes what this signs, and no byte else', async () => {
  const ask = async (said = { paymentStatus: 'SUCCESS' }, spoil = (r) => r) => {
    const server = await listen((r, response) => {
      const time = '2026-03-02T14:30:00+08:00';
      const body = JSON.stringify({ result: { resultCode: 'SUCCESS', resultStatus: 'S' }, paymentRequestId: 'ours0001', ...said });
      const out = spoil({ client, time, body, signature: sign(keys.read('provider_private.pem'), r.method, r.url, client, time, body) });
      response.writeHead(200, { 'client-id': out.client, 'response-time': out.time, signature: out.signature });
      response.end(out.body);
    });
    try {
      return await call('alipayplus', 'inquiryPayment', server.address, keys, 'paymentRequestId=ours0001');
    } finally {
      await server.stop();
    }
  };
  assert.equal((await ask()).code, 0);
  assert.equal((await ask({ paymentStatus: 'FAIL' })).code, 1);
  assert.equal((await ask(undefined, (r) => ({ ...r, signature: r.signature.replaceAll(',', ', ') }))).code, 0, 'spaces behind commas');
  for (const status of ['PROCESSING', 'PENDING', 'SOMETHING_NEW']) assert.equal((await ask({ paymentStatus: status })).code, 3, status);
  for (const [name, spoil] of Object.entries({
    body: (r) => ({ ...r, body: r.body.replace('SUCCESS"}', 'SUCCESS" }') }),
    client: (r) => ({ ...r, client: flip(r.client) }),
    time: (r) => ({ ...r, time: flip(r.time) }),
    key: (r) => ({ ...r, signature: r.signature.replace('keyVersion=1', 'keyVersion=2') }),
    signature: (r) => ({ ...r, signature: r.signature.replace(/signature=.{9}/, (s) => flip(s, s.length - 1)) }),
    none: (r) => ({ ...r, signature: '' }),
  })) {
    const spoilt = await ask(undefined, spoil);
    assert.equal(spoilt.code, 3, `${name}: ${spoilt.out}`);
    assert.doesNotMatch(spoilt.out, /paymentStatus/, name);
  }
});
