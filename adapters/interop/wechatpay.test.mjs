// WeChat Pay with wechatpay-axios-plugin 0.9.6: its client against our simulator,
// our adapter's bytes and our simulator's notifications against its verifiers.
//
// Left alone on purpose: wechatpay-node-v3, whose decipher_gcm takes a corrupted
// tag for a good one, whose getSignature loses the last newline of a POST without
// a body, and whose verifySign shares its keys between instances.
import assert from 'node:assert/strict';
import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { after, before, test } from 'node:test';
import axiosPlugin from 'wechatpay-axios-plugin';
import { call, flip, keysDirectory, listen, sim } from './lib/citygate.mjs';

const { Wechatpay, Formatter, Rsa, Aes, Hash, Transformer } = axiosPlugin;

let keys, platform, account, appPublic, providerPrivate, providerPublic;

before(async () => {
  keys = keysDirectory();
  platform = await sim('wechatpay', keys);
  account = keys.account();
  appPublic = Rsa.from(keys.read('app_public.pem'), Rsa.KEY_TYPE_PUBLIC);
  providerPublic = Rsa.from(keys.read('provider_public.pem'), Rsa.KEY_TYPE_PUBLIC);
  providerPrivate = Rsa.from(keys.read('provider_private.pem'), Rsa.KEY_TYPE_PRIVATE);
});

after(async () => {
  await platform.stop();
  keys.remove();
});

function client(change = {}) {
  return new Wechatpay({
    mchid: account.mchid,
    serial: account.app_serial,
    privateKey: keys.read('app_private.pem'),
    certs: { [account.provider_serial]: keys.read('provider_public.pem') },
    secret: account.apiv2_key,
    baseURL: platform.address,
    ...change,
  });
}

const payment = (no, total = 470) => ({
  appid: account.app_id, mchid: account.mchid, description: 'M66, 公园 / 火车站', out_trade_no: no,
  amount: { total, currency: 'CNY' }, payer: { auth_code: '130061098828009406' },
});

const arm = (next) => fetch(`${platform.address}/sim/arm?next=${next}`, { method: 'POST' });
const moved = async () => (await (await fetch(`${platform.address}/sim/book`)).json()).filter((o) => o.Paid).map((o) => o.OutTradeNo);

// Their client.

test('their client pays, asks, gives back and reverses', async () => {
  const wx = client();
  const { data: paid } = await wx.v3.pay.transactions.codepay.post(payment('their_1'));
  assert.equal(paid.trade_state, 'SUCCESS');
  const { data: asked } = await wx.v3.pay.transactions.outTradeNo['{no}'].get({ params: { mchid: account.mchid }, no: 'their_1' });
  assert.equal(asked.transaction_id, paid.transaction_id);
  const { data: back } = await wx.v3.refund.domestic.refunds.post({
    out_trade_no: 'their_1', out_refund_no: 'their_back', amount: { refund: 70, total: 470, currency: 'CNY' },
  });
  assert.equal(back.status, 'SUCCESS');
  const { data: reversed } = await wx.v3.pay.transactions.outTradeNo['{no}'].reverse.post({ appid: account.app_id, mchid: account.mchid }, { no: 'never_was' });
  assert.equal(reversed.out_trade_no, 'never_was', 'a number that never existed is answered like one that was reversed');
});

test('their client debits a rider on a contract and reads the platform certificates', async () => {
  const wx = client();
  const { data: ride } = await wx.v3.qrcode.transactions.post({
    appid: account.app_id, description: 'M66', out_trade_no: 'their_ride', trade_scene: 'METRO', contract_id: 'c1', notify_url: 'http://127.0.0.1:1/',
    amount: { total: 200, currency: 'CNY' }, metro_info: { start_time: '2026-03-02T14:30:00+08:00' },
  });
  assert.equal(ride.trade_state, 'SUCCESS');
  const { data: list } = await wx.v3.certificates.get();
  const { nonce, associated_data: aad, ciphertext } = list.data[0].encrypt_certificate;
  const certificate = new X509Certificate(Aes.AesGcm.decrypt(ciphertext, account.apiv3_key, nonce, aad));
  assert.equal(certificate.serialNumber, list.data[0].serial_no);
  assert.ok(certificate.publicKey.equals(createPublicKey(keys.read('provider_public.pem'))));
  assert.throws(() => Aes.AesGcm.decrypt(flip(ciphertext), account.apiv3_key, nonce, aad));
});

test('their APIv2 client debits by XML and HMAC-SHA256', async () => {
  const wx = client();
  const common = { appid: account.app_id, mch_id: account.mchid, sign_type: 'HMAC-SHA256' };
  const { data: taken } = await wx.v2.transit.pay.payapply.post({
    ...common, body: 'M66 <公园>', out_trade_no: 'their_v2', total_fee: 200, fee_type: 'CNY', spbill_create_ip: '127.0.0.1', notify_url: 'http://127.0.0.1:1/',
    trade_type: 'PAP', contract_id: 'c1', trade_scene: 'BUS', scene_info: '{"scene_info":{"start_time":"20260302143000"}}',
  });
  assert.equal(taken.result_code, 'SUCCESS');
  const { data: asked } = await wx.v2.transit.queryorder.post({ ...common, out_trade_no: 'their_v2' });
  assert.equal(asked.trade_state, 'SUCCESS');
  await assert.rejects(client({ secret: flip(account.apiv2_key) }).v2.transit.queryorder.post({ ...common, out_trade_no: 'their_v2' }));
});

test('their client reads our bill', async () => {
  const wx = client();
  const day = new Date(Date.now() - 2 * 86400e3).toISOString().slice(0, 10);
  const { data: where } = await wx.v3.bill.tradebill.get({ params: { bill_date: day, bill_type: 'ALL' } });
  const path = where.download_url.slice(platform.address.length + 1);
  const { data: file } = await wx.client.v3.request({ url: `/${path}`, method: 'GET', responseType: 'arraybuffer', transformResponse: [(d) => d] });
  assert.equal(createHash('sha1').update(file).digest('hex'), where.hash_value);
  assert.equal(Formatter.castCsvBill(file).summary['总交易单数'], '0');
});

test('a forged answer is refused by their client and by ours', async () => {
  for (const [fault, why] of Object.entries({ bad_sign: 'EV3_RES_HEADER_SIGNATURE_DIGEST', unsigned: 'EV3_RES_HEADERS_INCOMPLATE', strange: 'EV3_RES_HEADER_PLATFORM_SERIAL', stale: 'EV3_RES_HEADER_TIMESTAMP_OFFSET', probe: 'EV3_RES_HEADER_SIGNATURE_DIGEST' })) {
    await arm(fault);
    await assert.rejects(client().v3.pay.transactions.codepay.post(payment(`forged_${fault}`)), { code: why });
    await arm(fault);
    const ours = await call('wechatpay', 'codepay', platform.address, keys, '--biz', JSON.stringify(payment(`ours_${fault}`)));
    assert.equal(ours.code, 3, `${fault}: ${ours.out}${ours.err}`);
    assert.match(ours.out, /^unknown: /m);
    assert.doesNotMatch(ours.out, /trade_state/);
    assert.ok((await moved()).includes(`ours_${fault}`), 'the money had moved all the same');
  }
});

test('one flipped byte of a request is refused by our simulator', async () => {
  const path = '/v3/pay/transactions/codepay';
  const body = JSON.stringify(payment('flipped'));
  const send = async (change = {}) => {
    const sent = { path, body, serial: account.app_serial, mchid: account.mchid, nonce: Formatter.nonce(), timestamp: Formatter.timestamp(), ...change.signed };
    const signature = Rsa.sign(Formatter.request('POST', sent.path, sent.timestamp, sent.nonce, sent.body), keys.read('app_private.pem'));
    const on = { ...sent, signature, ...change.wire };
    const response = await fetch(platform.address + on.path, {
      method: 'POST', body: on.body, headers: { 'Content-Type': 'application/json', Authorization: Formatter.authorization(on.mchid, on.nonce, on.signature, on.timestamp, on.serial) },
    });
    return { status: response.status, code: (await response.json()).code, signature };
  };
  for (const [part, wire] of Object.entries({
    body: { body: flip(body) }, path: { path: `${path}?a=1` }, nonce: { nonce: 'x'.repeat(32) }, timestamp: { timestamp: Formatter.timestamp() - 1 },
    'key id': { serial: flip(account.app_serial) }, merchant: { mchid: flip(account.mchid) }, signature: { signature: 'AAAA' },
  })) {
    assert.deepEqual({ part, ...(await send({ wire })), signature: '' }, { part, status: 401, code: 'SIGN_ERROR', signature: '' });
  }
  assert.equal((await send({ signed: { timestamp: Formatter.timestamp() - 400 } })).status, 401, 'six minutes old');
  assert.ok(!(await moved()).includes('flipped'));
  assert.equal((await send()).status, 200, 'unchanged');
});

// Our adapter.

// theirServer answers as their formatter and signer say, spoilt by change.
const theirServer = (status, body, change = {}) => {
  const seen = [];
  return listen((request, response) => {
    seen.push(request);
    const nonce = Formatter.nonce();
    const timestamp = change.timestamp ?? Formatter.timestamp();
    const signature = Rsa.sign(Formatter.response(timestamp, nonce, body), providerPrivate);
    response.writeHead(status, {
      'Content-Type': 'application/json', 'Wechatpay-Timestamp': timestamp, 'Wechatpay-Nonce': nonce,
      'Wechatpay-Serial': change.serial ?? account.provider_serial, 'Wechatpay-Signature': change.signature?.(signature) ?? signature,
    });
    response.end(change.body ?? body);
  }).then((server) => ({ ...server, seen }));
};

const said = (request) => Object.fromEntries([...request.headers.authorization.matchAll(/(\w+)="([^"]*)"/g)].map((m) => [m[1], m[2]]));
const holds = (request, change = {}) => {
  const h = said(request);
  const { method, url, body, timestamp, nonce_str: nonce, signature } = { ...request, ...h, ...change };
  return Rsa.verify(Formatter.request(method, url, timestamp, nonce, body), signature, appPublic);
};

test('their verifier takes what our adapter sends, and no byte else', async () => {
  const server = await theirServer(200, '{"out_trade_no":"r","trade_state":"SUCCESS","amount":{"total":470,"currency":"CNY"}}');
  try {
    for (const [op, ...params] of [
      ['codepay', '--biz', JSON.stringify(payment('r'))],
      ['codepay', 'description=M66, 公园 & <火车站>', 'out_trade_no=r', 'amount.total=470', 'amount.currency=CNY', 'payer.auth_code=130061098828009406'],
      ['pay/transactions/out-trade-no/r'],
      ['certificates'],
      ['refund.domestic.refunds', 'out_trade_no=r', 'out_refund_no=b', 'amount.refund=1', 'amount.total=470', 'amount.currency=CNY'],
    ]) {
      const ours = await call('wechatpay', op, server.address, keys, ...params);
      assert.ok([0, 3].includes(ours.code), `${op}: ${ours.out}${ours.err}`);
      const request = server.seen.pop();
      const h = said(request);
      assert.match(request.headers.authorization, /^WECHATPAY2-SHA256-RSA2048 /);
      assert.deepEqual([h.mchid, h.serial_no], [account.mchid, account.app_serial]);
      assert.ok(holds(request), op);
      assert.ok(!holds(request, { url: `${request.url}x` }), 'path');
      assert.ok(!holds(request, { method: 'PUT' }), 'method');
      assert.ok(!holds(request, { body: request.body ? flip(request.body) : ' ' }), 'body');
      for (const name of ['timestamp', 'nonce_str', 'signature']) assert.ok(!holds(request, { [name]: flip(h[name]) }), `${op}: ${name}`);
    }
  } finally {
    await server.stop();
  }
});

test('our adapter takes what their signer signs, and no byte else', async () => {
  const body = '{"out_trade_no":"r","trade_state":"SUCCESS","amount":{"total":470,"currency":"CNY"},"attach":"a\\/b 公园"}';
  const ask = async (status, text, change) => {
    const server = await theirServer(status, text, change);
    try {
      return await call('wechatpay', 'pay/transactions/out-trade-no/r', server.address, keys);
    } finally {
      await server.stop();
    }
  };
  const good = await ask(200, body);
  assert.deepEqual([good.code, good.out], [0, `${body}\n`]);
  const no = await ask(200, body.replace('SUCCESS', 'PAYERROR'));
  assert.equal(no.code, 1, no.out);
  for (const state of ['USERPAYING', 'ACCEPTED', 'NOTPAY', 'A_NEW_ONE']) {
    assert.equal((await ask(200, body.replace('SUCCESS', state))).code, 3, state);
  }
  assert.equal((await ask(500, '{"code":"SYSTEM_ERROR","message":"later"}')).code, 3);
  assert.equal((await ask(404, '{"code":"ORDER_NOT_EXIST","message":"no"}')).code, 3);
  for (const [part, change] of Object.entries({
    body: { body: flip(body) }, 'body, one space more': { body: `${body} ` }, 'key id': { serial: flip(account.provider_serial, 40) },
    signature: { signature: (s) => flip(s) }, probe: { signature: (s) => `WECHATPAY/SIGNTEST/${s}` }, 'no signature': { signature: () => '' },
    old: { timestamp: Formatter.timestamp() - 301 }, future: { timestamp: Formatter.timestamp() + 600 }, // the cases take seconds, and so much nearer it comes
  })) {
    const spoilt = await ask(200, body, change);
    assert.equal(spoilt.code, 3, `${part}: ${spoilt.out}`);
    assert.match(spoilt.out, /^unknown: wechatpay: not signed by the platform/, part);
    assert.doesNotMatch(spoilt.out, /trade_state/, part);
  }
});

test('their APIv2 hash is ours', async () => {
  const key = account.apiv2_key;
  let got;
  const server = await listen((request, response) => {
    got = Transformer.toObject(request.body);
    const answer = { return_code: 'SUCCESS', result_code: 'SUCCESS', appid: account.app_id, mch_id: account.mchid, out_trade_no: 'r', trade_state: 'SUCCESS', total_fee: '200' };
    answer.sign = Hash.sign('HMAC-SHA256', answer, key);
    if (request.url.endsWith('querystate')) answer.sign = flip(answer.sign);
    response.end(Transformer.toXml(answer));
  });
  try {
    const ours = await call('wechatpay', 'queryorder', server.address, keys, 'out_trade_no=r', 'attach=a & <b> "公园"');
    assert.equal(ours.code, 0, ours.out + ours.err);
    assert.equal(got.attach, 'a & <b> "公园"');
    const { sign, ...rest } = got;
    assert.equal(sign, Hash.sign('HMAC-SHA256', rest, key));
    assert.notEqual(sign, Hash.sign('HMAC-SHA256', { ...rest, attach: 'b' }, key));
    assert.equal((await call('wechatpay', 'querystate', server.address, keys, 'openid=o')).code, 3, 'a hash with one byte flipped');
  } finally {
    await server.stop();
  }
  const vector = { appid: 'wxd930ea5d5a258f4f', mch_id: '10000100', device_info: '1000', body: 'test', nonce_str: 'ibuaiVcKdpRxkhJA' };
  assert.equal(Hash.sign('HMAC-SHA256', vector, '192006250b4c09247ec02edce69f6a2d'), '6A9AE1657590FD6257D693A078E1C3E4BB6BA4DC30B23E0EE2496E54170DACD6');
});

// Our simulator's notifications.

test('their verifier and their cipher take our notifications', async () => {
  const arrived = [];
  const server = await listen((request, response) => { arrived.push(request); response.writeHead(204); response.end(); });
  try {
    const { data } = await client().v3.pay.transactions.codepay.post({ ...payment('noted'), notify_url: `${server.address}/notify` });
    assert.equal(data.trade_state, 'SUCCESS');
    for (let i = 0; i < 100 && arrived.length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 100));
    const [{ headers: h, body }] = arrived;
    const signed = (text) => Rsa.verify(Formatter.response(h['wechatpay-timestamp'], h['wechatpay-nonce'], text), h['wechatpay-signature'], providerPublic);
    assert.ok(signed(body));
    assert.ok(!signed(flip(body)));
    const { resource: r, event_type: event } = JSON.parse(body);
    assert.equal(event, 'TRANSACTION.SUCCESS');
    const text = Aes.AesGcm.decrypt(r.ciphertext, account.apiv3_key, r.nonce, r.associated_data);
    assert.equal(JSON.parse(text).out_trade_no, 'noted');
    assert.throws(() => Aes.AesGcm.decrypt(flip(r.ciphertext), account.apiv3_key, r.nonce, r.associated_data));
    assert.throws(() => Aes.AesGcm.decrypt(r.ciphertext, account.apiv3_key, r.nonce, `${r.associated_data}x`));
  } finally {
    await server.stop();
  }
});
