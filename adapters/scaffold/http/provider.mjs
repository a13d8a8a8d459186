// What NAME does. This is the file to fill in: it answers out of its own memory, as if it were a payment product, so that
// you can start it and run the kit at once.
//
// Three rules decide about money:
//
//   One id, one payment. A debit that comes again with the same content is the payment it was, not another one.
//   Say "unknown" whenever you cannot say. Never turn a timeout into "declined".
//   What the far side does not know is "absent", which is not "declined" either.
//
// A product that knows a payment by its id and the second at which it was sent: put 'mark' into capabilities, and take that
// second from debit.mark, ref.mark and refund.mark, which is one instant for ever. The clock would be another one later.

import { Book } from './book.mjs';
import { Problem } from './problem.mjs';

const book = new Book();

/** What this program can do. Copy it into the contract with `citygate adapter contract`. */
export const manifest = {
  protocol: ['1'],
  name: 'NAME',
  version: '0.1.0',
  currencies: ['HKD'],
  batch_max: 20,
  id_max: 64,
  resubmit_safe: true,
  quiet_seconds: 120,
  poll_seconds: 30,
  deadline_seconds: 15,
  capabilities: [],
  config_schema: { type: 'object', properties: { merchant: { type: 'string' } }, required: ['merchant'], additionalProperties: false },
  secrets: [],
  // The test system the conformance kit plays with. Leave it away in production.
  test: { rider: 'rider-1', currency: 'HKD' },
};

/** The calls, by path. Each gets the call and the tenant's { config, secrets }. */
export const calls = {
  '/v1/submit': ({ debits }) => {
    // Refuse the whole call before anything is done for what you never settle.
    if (debits.some((d) => !manifest.currencies.includes(d.amount.currency))) throw new Problem(422, 'currency_unsupported');
    return { results: debits.map((d) => book.pay(d)) };
  },
  '/v1/query': ({ ref }) => book.find(ref.id),
};

/** What the kit asks of the test system. */
export const test = {
  reset: () => (book.reset(), {}),
  moves: () => ({ moves: book.moves }),
  end_day: () => ({ day: new Date().toISOString().slice(0, 10) }),
  decline_next: () => (book.arm('decline'), {}),
  partial_next: () => (book.arm('partial'), {}),
};
