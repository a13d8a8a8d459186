// Agreements on which riders are debited without being there: the capability 'contract'. Here they are kept in memory; let it
// ask your product. To offer it, name 'contract' in the manifest's capabilities, say `by_agreement: true` in the manifest, put
// `...agreements.calls` into `calls` and `...agreements.test` into `test`, and let the book be `new (agreements.kept(Book))()`.
//
//   One id, one agreement: opened again, it invites to the same one. Until the rider confirms, nothing is agreed.
//   What you do not know is "unknown", not "ended". "ended" is for good.
//   Every answer repeats what was asked by: the gateway believes none about another agreement.

import { Problem } from './problem.mjs';

const agreements = new Map(); // { id, provider_id, rider, state } by our id

export const reset = () => agreements.clear();

const byNumber = (number) => [...agreements.values()].find((a) => a.provider_id === number);

// find gives the agreement that a call names, or one that nobody knows.
function find({ id, provider_id }) {
  if (!id && !provider_id) throw new Problem(400, 'not_performed', 'an agreement has a name');
  const known = provider_id ? byNumber(provider_id) : agreements.get(id);
  const same = known && (!id || known.id === id);
  return same ? known : { id: id ?? '', provider_id, state: 'unknown' };
}

export const calls = {
  '/v1/agreement/open': ({ id }) => {
    if (!agreements.has(id)) agreements.set(id, { id, state: 'pending' });
    return { id, url: `https://wallet.example/agree?id=${encodeURIComponent(id)}` };
  },
  '/v1/agreement/query': (call) => find(call),
  '/v1/agreement/close': (call) => {
    const a = find(call);
    if (a.state === 'pending' || a.state === 'active') a.state = 'ended';
    return a;
  },
};

/** What the kit asks of riders. */
export const test = {
  agree: ({ id }) => {
    const a = agreements.get(id);
    if (a?.state === 'pending') Object.assign(a, { state: 'active', provider_id: `N-${id}`, rider: `rider of ${id}` });
    return {};
  },
};

const always = 'rider-1'; // the rider of the manifest's test has agreed to everything

/** A Book that takes nothing new on an agreement that is not in force. What it took before stays what it was. */
export const kept = (Book) =>
  class extends Book {
    pay(debit) {
      const inForce = debit.rider === always || byNumber(debit.rider)?.state === 'active';
      if (!this.known.has(debit.id) && !inForce) this.script.unshift('no');
      return super.pay(debit);
    }
  };
