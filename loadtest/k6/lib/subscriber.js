// A member of one room that keeps a ledger, and comes back from where it was.
//
// It heals nothing by itself: a gap between two offsets of a live connection is the broker's fault
// and stays one.

import { Connection } from './connection.js';
import { Ledger } from './ledger.js';
import { after, cancel, now } from './clock.js';
import * as metrics from './metrics.js';

/** How long a subscriber with everything listens on, for what should not come any more. */
const LINGER = 1000;

export class Subscriber {
  /**
   * @param options `url`, `codec`, `run`, `rooms` (a room's name → its publishers' names),
   *   `done()` once the books are closed, and `backoffCap`
   */
  constructor({ url, codec, run, rooms, done, backoffCap }) {
    this.done = done;
    this.lostAt = null;
    this.ended = false;
    this.rooms = {};
    for (const name of Object.keys(rooms)) {
      this.rooms[name] = { position: null, ledger: new Ledger(run, rooms[name]), counted: 0 };
    }
    this.connection = new Connection(url, codec, this, backoffCap);
  }

  ready() {
    for (const name of Object.keys(this.rooms)) this.join(name);
  }

  join(name) {
    const room = this.rooms[name];
    const since = room.position || undefined;
    this.connection.command({ type: 'join', room: name, since }, (reply, readAt) => {
      if (reply === null) return;
      if (reply.type === 'error') {
        if (reply.retry) this.connection.churn();
        return;
      }
      const asked = room.position;
      if (!asked && reply.offset > 0) metrics.joinedLate.add(1);
      if (asked) (reply.recovered === true ? metrics.recovered : metrics.unrecovered).add(1);
      room.position = { epoch: reply.epoch, offset: asked ? asked.offset : reply.offset };
      for (const message of reply.messages || []) this.take(room, message, readAt, true);
      room.position.offset = reply.offset;
      if (this.lostAt !== null) {
        metrics.outageTime.add(readAt - this.lostAt);
        this.lostAt = null;
      }
    });
  }

  event(event, readAt) {
    const room = this.rooms[event.room];
    if (!room) return;
    if (event.type === 'message') this.take(room, event, readAt, false);
    if (event.type === 'reset') {
      metrics.resets.add(1);
      room.position = { epoch: event.epoch, offset: event.offset };
    }
  }

  take(room, message, readAt, replayed) {
    const { position, ledger } = room;
    if (position && message.offset > position.offset + 1) metrics.offsetGaps.add(1);
    if (position) position.offset = Math.max(position.offset, message.offset);
    const fresh = ledger.enter(message.data);
    if (!fresh) return;
    const latency = readAt - message.data.time;
    (replayed ? metrics.recoveredLatency : metrics.deliveryLatency).add(latency);
    if (ledger.delivered - room.counted >= 64) this.count(room);
    if (ledger.closed && this.complete) after(LINGER, () => this.finish());
  }

  lost() {
    if (this.lostAt === null) this.lostAt = now();
  }

  get complete() {
    return Object.values(this.rooms).every(({ ledger }) => ledger.complete);
  }

  /** Counts in batches: a counter's sample costs more than the rest of a message. */
  count(room) {
    metrics.delivered.add(room.ledger.delivered - room.counted);
    room.counted = room.ledger.delivered;
  }

  /** Closes the books, complete or not. */
  finish() {
    if (this.ended) return;
    this.ended = true;
    for (const room of Object.values(this.rooms)) {
      const { ledger } = room;
      this.count(room);
      metrics.lost.add(ledger.lost);
      metrics.duplicates.add(ledger.duplicates);
      metrics.outOfOrder.add(ledger.outOfOrder);
      metrics.foreign.add(ledger.foreign);
      (ledger.closed ? metrics.ledgersClosed : metrics.ledgersOpen).add(1);
    }
    this.connection.end();
    this.done();
  }
}
