// Alipay with the official alipay-sdk 4.14.0: its client against our simulator,
// our adapter's bytes and our simulator's notifications against its verifiers.
//
// Left alone on purpose: checkNotifySign, which decodes values a second time and
// throws on a percent sign, and checkResponseSign on an error_response, which
// looks for the wrong node; rsaCheck over the raw bytes takes its place there.
// exec checks an answer's signature only when validateSign is set.
import assert from 'node:assert/strict';
import { createCipheriv, createSign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { AlipaySdk } from 'alipay-sdk';
import { call, flip, keysDirectory, listen, sim } from './lib/citygate.mjs';

let keys, platform, account;

before(async () => {
  keys = keysDirectory();
  platform = await sim('alipay', keys);
  account = keys.account();
});

after(async () => {
  await platform.stop();
  keys.remove();
});

const sdk = (change = {}) => new AlipaySdk({
  appId: account.app_id, keyType: 'PKCS8', privateKey: keys.read('app_private.pem').trim(), alipayPublicKey: keys.read('provider_public.pem').trim(),
  gateway: `${platform.address}/gateway.do`, camelcase: false, ...change,
});
// appSide verifies what the merchant signs.
const appSide = () => sdk({ alipayPublicKey: keys.read('app_public.pem').trim() });

const checked = { validateSign: true };
const offlinepay = (op) => `alipay.commerce.transport.offlinepay.${op}`;
const arm = (next) => fetch(`${platform.address}/sim/arm?next=${next}`, { method: 'POST' });
const paid = async () => (await (await fetch(`${platform.address}/sim/book`)).json()).filter((o) => o.Paid).map((o) => o.OutTradeNo);
let shown = 0;
const payment = (no, amount = '4.70') => ({
  out_trade_no: no, total_amount: amount, subject: 'M66 公园 100%', product_code: 'FACE_TO_FACE_PAYMENT', scene: 'bar_code', auth_code: `2812345678${String(shown++).padStart(8, '0')}`,
});

// Their client.

test('their client reads keys, settles records, pays, asks, gives back and cancels', async () => {
  const client = sdk();
  const { keys: list } = await client.exec(offlinepay('key.query'), {}, checked);
  assert.equal(list.length, 32);
  const { record } = await (await fetch(`${platform.address}/sim/record?rider=2088000000000099`)).json();
  assert.equal((await client.exec(offlinepay('record.verify'), { bizContent: { record } }, checked)).code, '10000');
  assert.equal((await client.exec(offlinepay('record.verify'), { bizContent: { record: flip(record) } }, checked)).sub_code, 'RECORD_VERIFY_FAIL');
  const { result_list: settled } = await client.exec(offlinepay('trade.settle'), { bizContent: { trade_list: [
    { out_trade_no: 'their_ride', amount: '2.00', actual_order_time: '2026-03-02 14:30:00', user_id: '2088000000000099', records: [record] },
  ] } }, checked);
  assert.equal(settled[0].result, 'SUCCESS');
  const asked = await client.exec('alipay.trade.query', { bizContent: { out_trade_no: 'their_ride' } }, checked);
  assert.deepEqual([asked.trade_status, asked.total_amount, asked.trade_no], ['TRADE_SUCCESS', '2.00', settled[0].trade_no]);

  const bought = await client.exec('alipay.trade.pay', { bizContent: payment('their_pay') }, checked);
  assert.equal(bought.code, '10000');
  const back = await client.exec('alipay.trade.refund', { bizContent: { out_trade_no: 'their_pay', refund_amount: '0.70', out_request_no: 'b1' } }, checked);
  assert.deepEqual([back.fund_change, back.refund_fee], ['Y', '0.70']);
  const again = await client.exec('alipay.trade.refund', { bizContent: { out_trade_no: 'their_pay', refund_amount: '0.70', out_request_no: 'b1' } }, checked);
  assert.deepEqual([again.fund_change, again.refund_fee], ['N', '0.70'], 'one number, one refund; the sum is cumulative');
  assert.equal((await client.exec('alipay.trade.fastpay.refund.query', { bizContent: { out_trade_no: 'their_pay', out_request_no: 'b1' } }, checked)).refund_status, 'REFUND_SUCCESS');
  assert.equal((await client.exec('alipay.trade.cancel', { bizContent: { out_trade_no: 'their_pay' } }, checked)).action, 'refund');
  assert.equal((await client.exec('alipay.trade.cancel', { bizContent: { out_trade_no: 'never' } }, checked)).action, undefined, 'yes to what never was');
  assert.equal((await client.exec('alipay.trade.query', { bizContent: { out_trade_no: 'never' } }, checked)).sub_code, 'ACQ.TRADE_NOT_EXIST');
});

test('what sdkExecute and pageExecute sign is taken as it is', async () => {
  const string = sdk().sdkExecute(offlinepay('userblacklist.query'), { bizContent: { page_index: 1, page_size: 1000 } });
  const answer = await (await fetch(`${platform.address}/gateway.do?${string}`)).text();
  const node = JSON.parse(answer)[`${offlinepay('userblacklist.query').replaceAll('.', '_')}_response`];
  assert.deepEqual(node.black_list, []);
  const page = sdk().pageExecute('alipay.user.agreement.page.sign', 'GET', { bizContent: { external_agreement_no: 'their_agreement', personal_product_code: 'GENERAL_WITHHOLDING_P' } });
  assert.equal((await fetch(page)).status, 200);
  const signed = await sdk().exec('alipay.user.agreement.query', { bizContent: { external_agreement_no: 'their_agreement' } }, checked);
  assert.equal(signed.status, 'NORMAL');
  const ride = await sdk().exec('alipay.trade.pay', { bizContent: {
    out_trade_no: 'their_withheld', total_amount: '3.00', subject: 'bus', product_code: 'GENERAL_WITHHOLDING', agreement_params: { agreement_no: signed.agreement_no },
  } }, checked);
  assert.equal(ride.code, '10000');
});

test('one flipped byte of a request is refused by our simulator', async () => {
  const params = Object.fromEntries(new URLSearchParams(sdk().sdkExecute('alipay.trade.pay', { bizContent: payment('flipped') })));
  for (const name of Object.keys(params)) {
    const answer = await (await fetch(`${platform.address}/gateway.do?${new URLSearchParams({ ...params, [name]: flip(params[name]) })}`)).json();
    const node = Object.entries(answer).find(([key]) => key.endsWith('_response'))[1];
    assert.notEqual(node.code, '10000', name);
    assert.match(node.sub_code, /^isv\./, name);
  }
  assert.ok(!(await paid()).includes('flipped'));
  const stranger = sdk({ privateKey: keys.read('provider_private.pem').trim() });
  assert.equal((await stranger.exec('alipay.trade.pay', { bizContent: payment('stranger') })).sub_code, 'isv.invalid-signature');
});

test('a forged answer is refused by their client and by ours', async () => {
  for (const fault of ['bad_sign', 'unsigned', 'garble', 'lose', 'fail']) {
    await arm(fault);
    const theirs = sdk().exec('alipay.trade.pay', { bizContent: payment(`their_${fault}`) }, checked);
    if (fault === 'lose') await theirs.catch(() => {}); // their HTTP library may send it again by itself, and be told that it was paid
    else await assert.rejects(theirs, fault);
    await arm(fault);
    const ours = await call('alipay', 'trade.pay', platform.address, keys, '--biz', JSON.stringify(payment(`ours_${fault}`)));
    assert.equal(ours.code, 3, `${fault}: ${ours.out}${ours.err}`);
    assert.match(ours.out, /^unknown: /, fault);
    assert.doesNotMatch(ours.out, /trade_no/, fault);
    assert.ok((await paid()).includes(`ours_${fault}`), 'the money had moved all the same');
  }
});

// Our adapter.

// canonical is the text that a v2 signature covers.
const canonical = (params) => Object.keys(params).filter((k) => k !== 'sign').sort().map((k) => `${k}=${params[k]}`).join('&');
const gather = (request) => ({
  ...Object.fromEntries(new URL(request.url, 'http://x').searchParams), ...Object.fromEntries(new URLSearchParams(request.body)),
});

test('their verifier takes what our adapter sends, and no byte else', async () => {
  const seen = [];
  const server = await listen((request, response) => { seen.push(request); response.end('{}'); });
  try {
    for (const [op, ...params] of [
      ['key.query'],
      ['trade.query', 'out_trade_no=r'],
      ['trade.pay', '--biz', JSON.stringify(payment('r'))],
      ['trade.settle', '--biz', '{"trade_list":[{"out_trade_no":"r","subject":"地铁 & 巴士 + 100%","records":["a/b=="]}]}'],
      ['voucher.generate', 'city_code=440100', 'site_begin=公园前'],
    ]) {
      const ours = await call('alipay', op, server.address, keys, ...params);
      assert.equal(ours.code, 3, 'an answer without a signature is no answer');
      const request = gather(seen.pop());
      assert.deepEqual([request.app_id, request.sign_type, request.charset, request.version], [account.app_id, 'RSA2', 'utf-8', '1.0']);
      assert.match(request.timestamp, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
      assert.ok(!Object.values(request).includes(''), 'the libraries differ about empty values, so there are none');
      assert.ok(appSide().rsaCheck(canonical(request), request.sign, 'RSA2'), op);
      for (const name of Object.keys(request).filter((k) => k !== 'sign')) {
        assert.ok(!appSide().rsaCheck(canonical({ ...request, [name]: flip(request[name]) }), request.sign, 'RSA2'), `${op}: ${name}`);
      }
      assert.ok(!appSide().rsaCheck(canonical(request), flip(request.sign), 'RSA2'), `${op}: sign`);
    }
  } finally {
    await server.stop();
  }
});

test('our adapter takes what a server of others signs, and no byte else', async () => {
  const sign = (text) => createSign('RSA-SHA256').update(text, 'utf8').sign(keys.read('provider_private.pem'), 'base64');
  const ask = async (text, status = 200) => {
    const server = await listen((_, response) => { response.writeHead(status); response.end(text); });
    try {
      return await call('alipay', 'trade.query', server.address, keys, 'out_trade_no=r');
    } finally {
      await server.stop();
    }
  };
  const node = '{"code":"10000","msg":"Success","out_trade_no":"r","trade_status":"TRADE_SUCCESS","total_amount":"4.70", "body":"a\\/b 公园"}';
  const answer = (n = node, s = sign(node)) => `{"alipay_trade_query_response":${n},"sign":"${s}"}`;
  const good = await ask(answer());
  assert.deepEqual([good.code, good.out], [0, `${node}\n`]);
  assert.equal(sdk().getSignStr(answer(), 'alipay_trade_query_response'), node, 'both cut out the same bytes');
  assert.equal((await ask(`{ "sign" : "${sign(node)}" , "alipay_trade_query_response" : ${node} }`)).code, 0, 'in any order, with spaces outside the node');
  const wait = node.replace('TRADE_SUCCESS', 'WAIT_BUYER_PAY');
  assert.equal((await ask(answer(wait, sign(wait)))).code, 3);
  const busy = '{"code":"20000","msg":"Service Currently Unavailable","sub_code":"isp.unknow-error"}';
  assert.equal((await ask(answer(busy, sign(busy)))).code, 3);
  const refusal = '{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.invalid-signature"}';
  const error = await ask(`{"error_response":${refusal},"sign":"${sign(refusal)}"}`);
  assert.deepEqual([error.code, error.out], [1, `${refusal}\n`]);
  assert.ok(sdk().rsaCheck(refusal, sign(refusal), 'RSA2'), 'their own check of an error_response must be this one');
  for (const [part, spoilt] of Object.entries({
    body: answer(flip(node)), 'one space more': answer(node.replace('{', '{ ')), 'an escape undone': answer(node.replace('\\/', '/')),
    signature: answer(node, flip(sign(node))), 'no signature': `{"alipay_trade_query_response":${node}}`,
    'signed by the merchant': answer(node, createSign('RSA-SHA256').update(node).sign(keys.read('app_private.pem'), 'base64')),
    'another method': answer().replace('trade_query', 'trade_cancel'), 'two nodes': `{"alipay_trade_query_response":${node},"error_response":${refusal},"sign":"${sign(node)}"}`,
    'the node twice': `{"alipay_trade_query_response":${node},"alipay_trade_query_response":${wait},"sign":"${sign(node)}"}`,
    'an unsigned error_response': `{"error_response":${refusal}}`, 'half of it': answer().slice(0, 80),
  })) {
    const ours = await ask(spoilt);
    assert.equal(ours.code, 3, `${part}: ${ours.out}`);
    assert.match(ours.out, /^unknown: /, part);
    assert.doesNotMatch(ours.out, /4\.70/, part);
  }
  assert.equal((await ask(answer(), 502)).code, 3);
});

// The REST face (v3): the same book, signatures in headers.

test('their v3 client pays, asks and gives back; what is not signed as it must be it refuses', async () => {
  const client = sdk({ endpoint: platform.address });
  const { responseHttpStatus, data } = await client.curl('POST', '/v3/alipay/trade/pay', { body: payment('rest_1') });
  assert.deepEqual([responseHttpStatus, data.out_trade_no, data.total_amount, data.code], [200, 'rest_1', '4.70', undefined]);
  assert.equal((await client.curl('POST', '/v3/alipay/trade/query', { body: { out_trade_no: 'rest_1' } })).data.trade_status, 'TRADE_SUCCESS');
  assert.equal((await client.exec('alipay.trade.query', { bizContent: { out_trade_no: 'rest_1' } }, checked)).trade_no, data.trade_no, 'one book for both');
  const back = await client.curl('POST', '/v3/alipay/trade/refund', { body: { out_trade_no: 'rest_1', refund_amount: '1.00', out_request_no: 'rest_b1' } });
  assert.equal(back.data.refund_fee, '1.00');
  await assert.rejects(client.curl('POST', '/v3/alipay/trade/query', { body: { out_trade_no: 'never_rest' } }), { code: 'ACQ.TRADE_NOT_EXIST' });
  await assert.rejects(client.curl('GET', '/v3/alipay/data/dataservice/bill/downloadurl/query', { query: { bill_type: 'trade', bill_date: '2099-01-01' } }), (e) => e.responseHttpStatus === 400);
  assert.ok((await client.curl('GET', '/v3/alipay/commerce/cityfacilitator/station/query', { query: { city_code: '440100' } })).data.support_starts.length > 0);
  await arm('bad_sign');
  await assert.rejects(client.curl('POST', '/v3/alipay/trade/pay', { body: payment('rest_2') }), { code: 'response-signature-verify-error' });
  await assert.rejects(sdk({ endpoint: platform.address, privateKey: keys.read('provider_private.pem').trim() }).curl('POST', '/v3/alipay/trade/pay', { body: payment('rest_3') }), { code: 'isv.invalid-signature' });
  assert.ok(!(await paid()).includes('rest_3'));
});

test('their verifier takes our v3 requests, and our adapter takes v3 answers of others, and no byte else', async () => {
  const sign = (text) => createSign('RSA-SHA256').update(text, 'utf8').sign(keys.read('provider_private.pem'), 'base64');
  const said = '{"out_trade_no":"r","trade_status":"TRADE_SUCCESS","total_amount":"4.70","body":"a\\/b 公园"}';
  const ask = async (spoil = () => {}) => {
    let seen;
    const server = await listen((request, response) => {
      seen = request;
      const answer = { status: 200, at: String(Date.now()), nonce: 'n1', body: said };
      answer.signature = sign(`${answer.at}\n${answer.nonce}\n${answer.body}\n`);
      spoil(answer);
      response.writeHead(answer.status, { 'alipay-timestamp': answer.at, 'alipay-nonce': answer.nonce, 'alipay-signature': answer.signature });
      response.end(answer.body);
    });
    try {
      return { seen, ...(await call('alipay', 'v3/alipay/trade/query', server.address, keys, 'out_trade_no=r')), get request() { return seen; } };
    } finally {
      await server.stop();
    }
  };
  const good = await ask();
  assert.deepEqual([good.code, good.out], [0, `${said}\n`]);
  const { method, url, headers, body } = good.request;
  const [, auth, signature] = /^ALIPAY-SHA256withRSA (.*),sign=(.*)$/.exec(headers.authorization);
  assert.match(auth, new RegExp(`^app_id=${account.app_id},nonce=\\w+,timestamp=\\d{13}$`));
  const covered = (parts) => `${parts.auth}\n${parts.method}\n${parts.url}\n${parts.body}\n`;
  const parts = { auth, method, url, body };
  assert.deepEqual([method, url], ['POST', '/v3/alipay/trade/query']);
  assert.ok(appSide().rsaCheck(covered(parts), signature, 'RSA2'));
  for (const name of Object.keys(parts)) assert.ok(!appSide().rsaCheck(covered({ ...parts, [name]: flip(parts[name]) }), signature, 'RSA2'), name);
  for (const [what, spoil] of Object.entries({
    body: (a) => { a.body = flip(a.body); }, timestamp: (a) => { a.at = flip(a.at); }, nonce: (a) => { a.nonce = flip(a.nonce); },
    signature: (a) => { a.signature = flip(a.signature); }, 'no signature': (a) => { a.signature = ''; }, 'an unsigned refusal': (a) => { a.status = 400; a.signature = ''; a.body = '{"code":"ACQ.TRADE_NOT_EXIST"}'; },
    'HTTP 500, signed': (a) => { a.status = 500; },
  })) {
    const ours = await ask(spoil);
    assert.equal(ours.code, 3, `${what}: ${ours.out}`);
    assert.doesNotMatch(ours.out, /4\.70/, what);
  }
});

// Content encryption: AES, and the signature over the ciphertext. Their checkResponseSign
// looks for an object's braces, which a ciphertext has none of; rsaCheck takes its place.

test('both encrypt contents alike, and neither reads what is of another key or was changed', async () => {
  const sealed = keysDirectory();
  const aes = Buffer.from('0123456789abcdef').toString('base64');
  writeFileSync(join(sealed.dir, 'account.json'), JSON.stringify({ app_id: account.app_id, account: account.account, aes_key: aes }));
  const server = await sim('alipay', sealed);
  const client = (encryptKey) => new AlipaySdk({
    appId: account.app_id, keyType: 'PKCS8', privateKey: sealed.read('app_private.pem').trim(), alipayPublicKey: sealed.read('provider_public.pem').trim(),
    gateway: `${server.address}/gateway.do`, endpoint: server.address, camelcase: false, encryptKey,
  });
  try {
    const theirs = client(aes);
    const bought = await theirs.exec('alipay.trade.pay', { bizContent: payment('sealed_1'), needEncrypt: true });
    assert.deepEqual([bought.code, bought.out_trade_no, bought.total_amount], ['10000', 'sealed_1', '4.70']);
    const raw = await (await fetch(`${server.address}/gateway.do?${theirs.sdkExecute('alipay.trade.query', { bizContent: { out_trade_no: 'sealed_1' }, needEncrypt: true })}`)).text();
    const { alipay_trade_query_response: text, sign: signature } = JSON.parse(raw);
    assert.ok(theirs.rsaCheck(`"${text}"`, signature, 'RSA2'));
    assert.equal(JSON.parse(theirs.aesDecrypt(text)).trade_status, 'TRADE_SUCCESS');
    const rest = await theirs.curl('POST', '/v3/alipay/trade/query', { body: { out_trade_no: 'sealed_1' }, needEncrypt: true });
    assert.equal(rest.data.trade_status, 'TRADE_SUCCESS');
    await assert.rejects(theirs.curl('POST', '/v3/alipay/trade/query', { body: { out_trade_no: 'never' }, needEncrypt: true }), { code: 'ACQ.TRADE_NOT_EXIST' });
    const stranger = await client(Buffer.from('fedcba9876543210').toString('base64')).exec('alipay.trade.pay', { bizContent: payment('sealed_2'), needEncrypt: true });
    assert.match(stranger.sub_code, /^isv\./);

    // Ours against theirs.
    const sign = (of) => createSign('RSA-SHA256').update(of, 'utf8').sign(sealed.read('provider_private.pem'), 'base64');
    const encrypt = (content, key) => {
      const cipher = createCipheriv('aes-128-cbc', Buffer.from(key, 'base64'), Buffer.alloc(16));
      return cipher.update(content, 'utf8', 'base64') + cipher.final('base64');
    };
    const said = '{"code":"10000","msg":"Success","out_trade_no":"sealed_3","trade_status":"TRADE_SUCCESS","total_amount":"4.70"}';
    const ask = async (key, spoil = (x) => x) => {
      let seen;
      const listener = await listen((request, response) => {
        seen = gather(request);
        const content = `"${encrypt(said, key)}"`;
        response.end(`{"alipay_trade_query_response":${spoil(content)},"sign":"${sign(content)}"}`);
      });
      try {
        return { ...(await call('alipay', 'trade.query', listener.address, sealed, 'out_trade_no=sealed_3')), seen };
      } finally {
        await listener.stop();
      }
    };
    const good = await ask(aes);
    assert.deepEqual([good.code, good.out], [0, `${said}\n`]);
    assert.equal(good.seen.encrypt_type, 'AES');
    assert.deepEqual(JSON.parse(theirs.aesDecrypt(good.seen.biz_content)), { out_trade_no: 'sealed_3' });
    for (const bad of [await ask(Buffer.from('fedcba9876543210').toString('base64')), await ask(aes, (content) => flip(content))]) {
      assert.equal(bad.code, 3, bad.out);
      assert.doesNotMatch(bad.out, /4\.70/);
    }
  } finally {
    await server.stop();
    sealed.remove();
  }
});

// Our simulator's notifications, and certificates.

test('their verifier takes our notifications, and no byte else', async () => {
  const arrived = [];
  const server = await listen((request, response) => { arrived.push(request); response.end('success'); });
  try {
    const bought = await sdk().exec('alipay.trade.pay', { notifyUrl: `${server.address}/notify`, bizContent: payment('told') }, checked);
    assert.equal(bought.code, '10000');
    for (let i = 0; i < 100 && arrived.length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 100));
    const fields = Object.fromEntries(new URLSearchParams(arrived[0].body));
    assert.deepEqual([fields.out_trade_no, fields.trade_status, fields.total_amount, fields.seller_id], ['told', 'TRADE_SUCCESS', '4.70', account.account]);
    assert.ok(fields.body.includes('%') && !Object.values(fields).includes(''));
    assert.ok(sdk().checkNotifySignV2(fields));
    assert.throws(() => sdk().checkNotifySign(fields), URIError, 'the trap is still there');
    for (const name of Object.keys(fields).filter((k) => k !== 'sign_type')) {
      assert.ok(!sdk().checkNotifySignV2({ ...fields, [name]: flip(fields[name]) }), name);
    }
  } finally {
    await server.stop();
  }
});

test('certificate mode: both name certificates alike', async () => {
  const certified = keysDirectory();
  writeFileSync(join(certified.dir, 'account.json'), JSON.stringify({ app_id: account.app_id, account: account.account, mode: 'certificate' }));
  const server = await sim('alipay', certified);
  try {
    const client = new AlipaySdk({
      appId: account.app_id, keyType: 'PKCS8', privateKey: certified.read('app_private.pem').trim(), gateway: `${server.address}/gateway.do`, camelcase: false,
      appCertContent: certified.read('app_cert.pem'), alipayPublicCertContent: certified.read('provider_cert.pem'), alipayRootCertContent: certified.read('provider_root_cert.pem'),
    });
    assert.equal((await client.exec('alipay.trade.pay', { bizContent: payment('certified') }, checked)).code, '10000');
    const seen = [];
    const listener = await listen((request, response) => { seen.push(gather(request)); response.end('{}'); });
    await call('alipay', 'trade.query', listener.address, certified, 'out_trade_no=certified');
    await listener.stop();
    assert.equal(seen[0].app_cert_sn, client.config.appCertSn);
    assert.equal(seen[0].alipay_root_cert_sn, client.config.alipayRootCertSn);
    assert.equal((await call('alipay', 'trade.query', server.address, certified, 'out_trade_no=certified')).code, 0);
    const other = new AlipaySdk({ ...client.config, appCertPath: undefined, appCertContent: undefined, appCertSn: flip(client.config.appCertSn), gateway: client.config.gateway });
    assert.match((await other.exec('alipay.trade.query', { bizContent: { out_trade_no: 'certified' } })).sub_code, /^isv\./, 'another key id');
    const raw = await (await fetch(`${server.address}/gateway.do?${client.sdkExecute('alipay.trade.query', { bizContent: { out_trade_no: 'certified' } })}`)).text();
    const named = JSON.parse(raw).alipay_cert_sn;
    assert.equal(named, client.config.alipayCertSn);
    for (const text of [raw.replace(named, flip(named)), raw.replace(`"alipay_cert_sn":"${named}",`, '')]) {
      const impostor = await listen((_, response) => response.end(text));
      const ours = await call('alipay', 'trade.query', impostor.address, certified, 'out_trade_no=certified');
      await impostor.stop();
      assert.equal(ours.code, 3, ours.out);
    }
  } finally {
    await server.stop();
    certified.remove();
  }
});
