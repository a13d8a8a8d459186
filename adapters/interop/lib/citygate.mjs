// Runs both sides of a product's protocol: citygate adapter sim and citygate
// adapter call, over a directory of keys.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const program = process.env.CITYGATE;
if (!program) throw new Error('set CITYGATE to the citygate program');

export function keysDirectory() {
  const dir = mkdtempSync(join(tmpdir(), 'citygate-interop-'));
  return {
    dir,
    read: (name) => readFileSync(join(dir, name), 'utf8'),
    account: () => JSON.parse(readFileSync(join(dir, 'account.json'), 'utf8')),
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

// sim starts a simulator and gives its address; stop ends it.
export function sim(name, keys) {
  const child = spawn(program, ['adapter', 'sim', name, '--keys', keys.dir, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  return new Promise((resolve, reject) => {
    let said = '';
    child.stdout.on('data', (chunk) => {
      said += chunk;
      const ready = / simulator ready at (\S+)\n/.exec(said);
      if (ready) resolve({ address: ready[1], stop: () => { child.kill('SIGINT'); return ended; } });
    });
    child.on('error', reject);
    ended.then((code) => reject(new Error(`the simulator ended with ${code}: ${said}`)));
  });
}

// call sends one request as our adapter does and gives its exit code and words.
export function call(name, op, endpoint, keys, ...params) {
  const child = spawn(program, ['adapter', 'call', name, op, '--endpoint', endpoint, '--keys', keys.dir, ...params], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => { out += chunk; });
  child.stderr.on('data', (chunk) => { err += chunk; });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

// listen runs a server that hands every request, read whole, to answer.
export async function listen(answer) {
  const server = createServer((request, response) => {
    const chunks = [];
    request.on('data', (c) => chunks.push(c));
    request.on('end', () => answer({ method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(chunks).toString('utf8') }, response));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { address: `http://127.0.0.1:${server.address().port}`, stop: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }) };
}

// flip changes one byte of a text, at the place or in the middle.
export function flip(text, at = text.length >> 1) {
  const c = text[at];
  return text.slice(0, at) + (c === '1' ? '2' : c === 'a' ? 'b' : c >= '0' && c <= '9' ? '1' : 'a') + text.slice(at + 1);
}
