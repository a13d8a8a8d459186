// The operator's cards in riders' wallets: the capability 'card_issue'. Here the wallets are in memory; let it tell your
// product. To offer it, name 'card_issue' in the manifest's capabilities, put `...cards.calls` into `calls` and `...cards.test`
// into `test`.
//
// The newest `at` wins: the same state again is one card, and an older one that comes late is taken and changes nothing.

import { Problem } from './problem.mjs';

const wallets = new Map(); // { card, rider, disabled, overdue, at } by number

export const reset = () => wallets.clear();

export const calls = {
  '/v1/card': ({ card, rider, disabled, overdue, tip, at }) => {
    if (!card || !rider || Number.isNaN(Date.parse(at))) throw new Problem(400, 'not_performed', 'a card has a number, a rider and an instant');
    const old = wallets.get(card);
    if (!old || Date.parse(at) >= Date.parse(old.at)) wallets.set(card, { card, rider, disabled, overdue, tip, at });
    return { card };
  },
};

/** What the kit asks of wallets. */
export const test = {
  cards: () => ({ cards: [...wallets.values()].map(({ card, rider, disabled, overdue }) => ({ card, rider, disabled, overdue })) }),
};
