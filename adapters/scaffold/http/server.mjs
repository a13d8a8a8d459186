// The provider protocol of Citygate, version 1, over node:http: signatures, replay and dispatch. You should not have to
// change this file; what your product does is in provider.mjs. The protocol is openapi.yaml beside it.
//
//   node server.mjs --keys DIR [--listen 127.0.0.1:9000]
//
// DIR holds gateway_public.pem (whose calls are taken) and program_private.pem (what answers are signed with), both
// Ed25519. Clocks may differ by five minutes.

import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Problem } from './problem.mjs';
import { manifest, calls, test } from './provider.mjs';

const TAG = 'citygate-provider-1';
const SKEW = 300; // seconds
const REQUIRED = ['@method', '@authority', '@path', 'content-digest', 'citygate-protocol'];

const { values: flags } = parseArgs({ options: { keys: { type: 'string' }, listen: { type: 'string', default: '127.0.0.1:0' } } });
if (!flags.keys) {
  console.error('server.mjs: --keys DIR is missing');
  process.exit(2);
}
const gateway = crypto.createPublicKey(fs.readFileSync(path.join(flags.keys, 'gateway_public.pem')));
const own = crypto.createPrivateKey(fs.readFileSync(path.join(flags.keys, 'program_private.pem')));

const digest = (body) => `sha-256=:${crypto.createHash('sha256').update(body).digest('base64')}:`;

// component gives the value of a covered component of a request (RFC 9421, section 2).
function component(req, name) {
  switch (name) {
    case '@method': return req.method;
    case '@authority': return req.headers.host.toLowerCase();
    case '@path': return req.url.split('?')[0];
    default:
      if (name.startsWith('@') || req.headers[name] === undefined) throw new Error(`component ${name}`);
      return String(req.headers[name]).trim();
  }
}

const seen = new Map(); // nonces, by when they may be forgotten

// authentic throws unless the request was signed by the gateway, now, and never before.
function authentic(req, body) {
  const input = /^([a-z*][a-z0-9_\-.*]*)=(\(([^()]*)\)(;.*))$/.exec(req.headers['signature-input'] ?? '');
  const [, label, params, list, rest] = input ?? [];
  const value = new RegExp(`^${label?.replace(/[.*]/g, '\\$&')}=:([A-Za-z0-9+/=]+):$`).exec(req.headers.signature ?? '');
  if (!input || !value) throw new Error('form');
  const text = (name) => new RegExp(`;${name}="([^"\\\\]*)"`).exec(rest)?.[1];
  const created = Number(/;created=(\d+)/.exec(rest)?.[1]);
  const now = Date.now() / 1000;
  const names = list.split(' ').map((item) => /^"([^"]+)"$/.exec(item)?.[1]);
  if (text('tag') !== TAG || text('keyid') !== 'gateway-1' || !text('nonce') || !(Math.abs(now - created) <= SKEW)) throw new Error('parameters');
  if (new Set(names).size !== names.length || REQUIRED.some((r) => !names.includes(r))) throw new Error('components');
  const base = names.map((n) => `"${n}": ${component(req, n)}\n`).join('') + `"@signature-params": ${params}`;
  if (!crypto.verify(null, Buffer.from(base), gateway, Buffer.from(value[1], 'base64'))) throw new Error('signature');
  if (req.headers['content-digest'] !== digest(body)) throw new Error('digest');
  for (const [nonce, until] of seen) if (until < now) seen.delete(nonce);
  if (seen.has(text('nonce'))) throw new Error('replay');
  seen.set(text('nonce'), created + SKEW);
}

// sign adds what makes the answer ours, and the answer to this request.
function sign(req, res, status, body) {
  res.setHeader('Content-Digest', digest(body));
  const params = `("@status" "content-digest" "signature";req);created=${Math.floor(Date.now() / 1000)};keyid="program-1";tag="${TAG}"`;
  const base = `"@status": ${status}\n"content-digest": ${digest(body)}\n"signature";req: ${req.headers.signature}\n"@signature-params": ${params}`;
  res.setHeader('Signature-Input', `sig=${params}`);
  res.setHeader('Signature', `sig=:${crypto.sign(null, Buffer.from(base), own).toString('base64')}:`);
}

async function answer(req, body) {
  try {
    authentic(req, body);
  } catch (e) {
    throw new Problem(401, 'unauthorized', e.message);
  }
  if (req.headers['citygate-protocol'] !== '1') throw new Problem(400, 'protocol_version');
  let call;
  try {
    call = JSON.parse(body);
  } catch {
    throw new Problem(400, 'not_performed', 'not JSON');
  }
  const serve = req.url === '/v1/test' ? test?.[call.do] : calls[req.url];
  if (req.method !== 'POST' || !serve) throw new Problem(404, 'not_performed', 'this program has no such call');
  const secrets = Object.fromEntries(Object.entries(call.contract?.secrets ?? {}).map(([k, v]) => [k, Buffer.from(v, 'base64')]));
  return serve(call, { config: call.contract?.config ?? {}, secrets });
}

let ending = false;
const server = http.createServer(async (req, res) => {
  const chunks = [];
  let size = 0;
  for await (const c of req) if ((size += c.length) <= 8 << 20) chunks.push(c);
  const body = Buffer.concat(chunks);
  const plain = { '/v1/manifest': manifest, '/v1/health': { status: 'ok' } }[req.method === 'GET' ? req.url : ''];
  let status = 200, out = plain;
  if (!plain) {
    try {
      out = await answer(req, body);
    } catch (e) {
      // What went wrong inside leaves the outcome open: never say no because of it.
      status = e instanceof Problem ? e.status : 502;
      out = e instanceof Problem ? { code: e.code, detail: e.detail } : { code: 'outcome_open' };
      if (!(e instanceof Problem)) console.error(e.message);
    }
  }
  const text = Buffer.from(typeof out === 'string' ? out : JSON.stringify(out));
  res.setHeader('Content-Type', 'application/json');
  if (ending) res.setHeader('Connection', 'close');
  if (!plain && req.headers.signature) sign(req, res, status, text);
  res.statusCode = status;
  res.end(text);
});

const [host, port] = flags.listen.split(/:(?=\d+$)/);
server.listen(Number(port), host, () => console.log(`${manifest.name} ready at http://${host}:${server.address().port}`));

// Told to end, it takes no further call, answers those that it has taken, and ends: an answer that is lost here is an
// outcome that the gateway has to ask for.
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    ending = true;
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
