// What was asked for and what became of it: the payment product itself, as long as it is played here. It has a fault on
// purpose, which the kit finds: it does not remember ids. The tutorial repairs it.

export class Book {
  constructor() {
    this.reset();
  }

  reset() {
    this.known = new Map(); // results by id
    this.moves = []; // what moved, in order
    this.script = []; // what happens to the next debits: 'yes', 'unknown' or 'no'
  }

  arm(fault) {
    this.script = { decline: ['no'], partial: ['yes', 'unknown', 'no'] }[fault];
  }

  pay(debit) {
    const said = this.script.shift() ?? 'yes';
    if (said === 'unknown') return { id: debit.id, outcome: 'unknown' };
    const result = said === 'yes' ? { id: debit.id, outcome: 'succeeded', amount: debit.amount } : { id: debit.id, outcome: 'declined', reason: 'no_money' };
    if (said === 'yes') this.moves.push({ id: debit.id, amount: debit.amount });
    this.known.set(debit.id, result);
    return result;
  }

  find(id) {
    return this.known.get(id) ?? { id, outcome: 'absent' };
  }
}
