// What one subscriber got of what was published to it: lost, duplicated, out of order.
//
// Every message says which run and publisher it is of and its number there, from 1; a publisher's
// last message, the end marker, says how many there were. A ledger is closed when each expected
// publisher's end marker is in, and only then is it known that nothing is missing. Messages of
// another run are counted and left out.

/** Missing numbers kept per publisher, to tell a late message from a lost one. */
const MOST_MISSING = 10000;

export class Ledger {
  /** @param publishers the names of all that publish to this subscriber */
  constructor(run, publishers) {
    this.run = run;
    this.accounts = {};
    for (const name of publishers) {
      this.accounts[name] = { next: 1, last: null, missing: new Set(), forgotten: 0 };
    }
    this.open = publishers.length;
    this.delivered = 0;
    this.duplicates = 0;
    this.outOfOrder = 0;
    this.foreign = 0;
  }

  /** Enters a message's `data`. Answers whether it is new to this subscriber. */
  enter(data) {
    const account = data && data.run === this.run ? this.accounts[data.publisher] : undefined;
    if (!account) {
      this.foreign += 1;
      return false;
    }
    if (data.seq < account.next) {
      if (!account.missing.delete(data.seq)) {
        this.duplicates += 1;
        return false;
      }
      this.outOfOrder += 1;
    } else {
      for (let seq = account.next; seq < data.seq; seq += 1) {
        if (account.missing.size < MOST_MISSING) account.missing.add(seq);
        else account.forgotten += 1;
      }
      account.next = data.seq + 1;
    }
    this.delivered += 1;
    if (data.end && account.last === null) {
      account.last = data.seq;
      this.open -= 1;
    }
    return true;
  }

  /** Whether every publisher's end marker is in. */
  get closed() {
    return this.open === 0;
  }

  /** Whether nothing more is to come. */
  get complete() {
    return this.closed && this.lost === 0;
  }

  /** Messages known to be missing; of a publisher without an end marker only the gaps are. */
  get lost() {
    return Object.values(this.accounts).reduce(
      (sum, account) => sum + account.missing.size + account.forgotten,
      0,
    );
  }
}
