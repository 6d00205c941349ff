// Publishes at a steady rate into one room, whatever the broker does: an open load.
//
// Messages fall due by the clock and wait in a queue, and `time` in each is when it was made, so a
// broker that stalls shows as latency and not as fewer messages. One is in flight at a time and is
// sent again, with its key, until it is answered: order and number survive restarts, and what the
// broker accepts twice is a duplicate in every ledger.

import { Connection } from './connection.js';
import { after, cancel, now } from './clock.js';
import * as metrics from './metrics.js';

/** Messages that may wait for the broker; one more is skipped, and the run is invalid. */
const MOST_WAITING = 4096;
/** The wait after an error that may pass, in milliseconds. */
const RETRY = 100;

export class Publisher {
  /**
   * @param options `url`, `codec`, `run`, `room`, `name`, `rate` a second, `seconds`, `bytes` of
   *   padding, `backoffCap`, and `done()` when all is published or given up
   */
  constructor(options) {
    this.options = options;
    this.queue = [];
    this.due = 0;
    this.seq = 0;
    this.joined = false;
    this.inFlight = false;
    this.startedAt = null;
    this.padding = 'x'.repeat(options.bytes);
    this.connection = new Connection(options.url, options.codec, this, options.backoffCap);
  }

  ready() {
    this.connection.command({ type: 'join', room: this.options.room }, (reply) => {
      if (reply === null) return;
      if (reply.type === 'error') {
        this.connection.churn();
        return;
      }
      this.joined = true;
      if (this.startedAt === null) this.start();
      this.pump();
    });
  }

  event() {}

  lost() {
    this.joined = false;
  }

  start() {
    // Publishers that begin together would all publish at the same instant, again and again.
    this.startedAt = now() + (Math.random() * 1000) / this.options.rate;
    this.tick();
  }

  /** Makes what has fallen due and waits for the next. */
  tick() {
    const { rate, seconds } = this.options;
    const total = Math.round(rate * seconds);
    const at = (message) => this.startedAt + (message * 1000) / rate;
    while (this.due < total && at(this.due) <= now()) {
      metrics.publishLag.add(now() - at(this.due));
      this.due += 1;
      this.make({});
    }
    if (this.due < total) {
      this.timer = after(Math.max(0, at(this.due) - now()), () => this.tick());
    } else {
      this.make({ end: true });
    }
  }

  make(more) {
    if (this.queue.length >= MOST_WAITING && !more.end) {
      metrics.publishSkipped.add(1);
      return;
    }
    const { run, name } = this.options;
    this.seq += 1;
    const data = { run, publisher: name, seq: this.seq, time: now(), padding: this.padding };
    this.queue.push({ data: Object.assign(data, more), tries: 0 });
    this.pump();
  }

  /** Sends the oldest message that waits, if it may. */
  pump() {
    if (!this.joined || this.inFlight || this.queue.length === 0 || this.ended) return;
    const message = this.queue[0];
    const { room, run, name } = this.options;
    const key = `${run}.${name}.${message.data.seq}`;
    const sentAt = now();
    this.inFlight = true;
    if (message.tries > 0) metrics.publishRetries.add(1);
    message.tries += 1;
    const command = { type: 'publish', room, key, echo: false, data: message.data };
    this.connection.command(command, (reply, readAt) => {
      this.inFlight = false;
      if (reply === null) return;
      if (reply.type === 'error') {
        this.retry = after(RETRY, () => this.pump());
        return;
      }
      this.queue.shift();
      metrics.published.add(1);
      metrics.publishAck.add(readAt - sentAt);
      if (message.data.end) this.finish();
      else this.pump();
    });
  }

  /** Stops, with everything published or not. */
  finish() {
    if (this.ended) return;
    this.ended = true;
    cancel(this.timer);
    cancel(this.retry);
    metrics.unpublished.add(this.queue.length);
    this.connection.end();
    this.options.done();
  }
}
