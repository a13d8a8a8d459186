// UnionPay ACP 5.1.0. No outside verifier can be had: the public ones are for Go
// and old Node, and not in a registry. This one is written from the protocol's
// description alone, on node:crypto: the double hash, the serial number in
// decimal, the certificate inside the message, pinned by chain and by name.
import assert from 'node:assert/strict';
import { createHash, createSign, createVerify, X509Certificate } from 'node:crypto';
import { after, before, test } from 'node:test';
import { call, flip, keysDirectory, listen, sim } from './lib/citygate.mjs';

const OWNER = '中国银联股份有限公司';

// digest is what is signed: the hash of the sorted fields, as hexadecimal text.
const digest = (fields) => createHash('sha256')
  .update(Object.keys(fields).filter((k) => k !== 'signature' && fields[k] !== '').sort().map((k) => `${k}=${fields[k]}`).join('&'), 'utf8')
  .digest('hex');

const verify = (fields, key) => createVerify('RSA-SHA256').update(digest(fields)).verify(key, fields.signature ?? '', 'base64');

const sign = (fields, key) => ({ ...fields, signature: createSign('RSA-SHA256').update(digest(fields)).sign(key, 'base64') });

// proven checks a message of UnionPay's: chain, name, then signature.
function proven(fields, root) {
  if (!fields.signPubKeyCert) return false;
  const certificate = new X509Certificate(fields.signPubKeyCert);
  const owner = /CN=(.*)/.exec(certificate.subject)?.[1].split('@')[2];
  return certificate.checkIssued(root) && certificate.verify(root.publicKey) && owner === OWNER && verify(fields, certificate.publicKey);
}

// answers are k=v&k=v with values as they are; requests are forms.
const readAnswer = (text) => Object.fromEntries(text.split('&').map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
const readForm = (text) => Object.fromEntries(new URLSearchParams(text));
const writeAnswer = (fields) => Object.entries(fields).map(([k, v]) => `${k}=${v}`).join('&');

let keys, platform, app, root, leaf;

before(async () => {
  keys = keysDirectory();
  platform = await sim('unionpay', keys);
  [app, root, leaf] = ['app_cert.pem', 'provider_root_cert.pem', 'provider_cert.pem'].map((name) => new X509Certificate(keys.read(name)));
});

after(async () => {
  await platform.stop();
  keys.remove();
});

const request = (fields) => ({
  version: '5.1.0', encoding: 'UTF-8', signMethod: '01', certId: BigInt(`0x${app.serialNumber}`).toString(10), merId: keys.account().mchid,
  accessType: '0', bizType: '000000', channelType: '08', txnTime: '20260302143000', ...fields,
});
const consume = (orderId) => request({ txnType: '01', txnSubType: '06', orderId, txnAmt: '470', currencyCode: '156', qrNo: '6220485073630469936', termId: '00000001' });
const post = async (path, fields) => readAnswer(await (await fetch(`${platform.address}/gateway/api/${path}`, { method: 'POST', body: new URLSearchParams(fields) })).text());

test('our simulator takes what this signs, and this takes what it answers', async () => {
  const paid = await post('backTransReq.do', sign(consume('theirs0001'), keys.read('app_private.pem')));
  assert.equal(paid.respCode, '00');
  assert.ok(proven(paid, root));
  assert.ok(!proven({ ...paid, respCode: '05' }, root));
  assert.ok(!proven({ ...paid, signPubKeyCert: keys.read('app_cert.pem') }, root), 'a certificate of somebody else');
  const asked = await post('queryTrans.do', sign(request({ txnType: '00', txnSubType: '00', orderId: 'theirs0001' }), keys.read('app_private.pem')));
  assert.deepEqual([asked.origRespCode, asked.txnAmt, proven(asked, root)], ['00', '470', true]);
});

test('one flipped byte of a request is refused by our simulator', async () => {
  const good = sign(consume('theirs0002'), keys.read('app_private.pem'));
  for (const name of ['txnAmt', 'orderId', 'txnTime', 'certId', 'merId', 'signature', 'qrNo']) {
    const answer = await post('backTransReq.do', { ...good, [name]: flip(good[name]) });
    assert.equal(answer.respCode, '11', name);
  }
  assert.equal((await post('backTransReq.do', { ...good, signature: createSign('RSA-SHA256').update('x').sign(keys.read('app_private.pem'), 'base64') })).respCode, '11');
  assert.equal((await post('backTransReq.do', good)).respCode, '00', 'unchanged');
});

test('this takes what our adapter sends, and no byte else', async () => {
  let sent;
  const server = await listen((r, response) => { sent = readForm(r.body); response.end(''); });
  try {
    const ours = await call('unionpay', 'consume', server.address, keys, 'orderId=ours00001', 'txnAmt=470', 'qrNo=6220485073630469936', 'reqReserved=a&b=c 公园');
    assert.equal(ours.code, 3, ours.out);
    assert.ok(verify(sent, app.publicKey));
    assert.equal(sent.certId, BigInt(`0x${app.serialNumber}`).toString(10));
    for (const name of Object.keys(sent)) assert.ok(!verify({ ...sent, [name]: flip(sent[name]) }, app.publicKey), name);
  } finally {
    await server.stop();
  }
});

test('our adapter takes what this signs, and no byte else', async () => {
  const ask = async (change = {}, spoil = (f) => f) => {
    const server = await listen((r, response) => {
      const { merId, orderId, txnTime, txnType } = readForm(r.body);
      response.end(writeAnswer(spoil(sign({
        version: '5.1.0', signMethod: '01', merId, orderId, txnTime, txnType, txnAmt: '470', currencyCode: '156', respCode: '00', origRespCode: '00',
        queryId: '1', signPubKeyCert: leaf.toString().trim(), ...change,
      }, keys.read('provider_private.pem')))));
    });
    try {
      return await call('unionpay', 'query', server.address, keys, 'orderId=ours00001');
    } finally {
      await server.stop();
    }
  };
  assert.equal((await ask()).code, 0);
  assert.equal((await ask({ origRespCode: '64' })).code, 1);
  for (const change of [{ origRespCode: '05' }, { respCode: '34' }, { respCode: '99' }, { orderId: 'ours00002' }, { merId: 'x' }, { signPubKeyCert: '' }, { signPubKeyCert: keys.read('app_cert.pem').trim() }]) {
    assert.equal((await ask(change)).code, 3, JSON.stringify(change));
  }
  for (const name of ['origRespCode', 'txnAmt', 'signature', 'queryId', 'signPubKeyCert']) {
    const spoilt = await ask({}, (f) => ({ ...f, [name]: flip(f[name]) }));
    assert.equal(spoilt.code, 3, `${name}: ${spoilt.out}`);
    assert.doesNotMatch(spoilt.out, /origRespCode/, name);
  }
});
