// Some members stop reading. They alone are closed, with 4008, and come back to everything they
// missed; the others notice nothing: their latency and ledgers are judged as ever.
//
// The slow ones use the older k6/ws: there a handler that sleeps holds up the reading of the
// socket, which is what being slow means. k6/experimental/websockets reads on without bound.

import exec from 'k6/execution';
import http from 'k6/http';
import ws from 'k6/ws';
import { sleep } from 'k6';
import { broadcast, publisherNames, roomName, urlOf } from '../lib/broadcast.js';
import { now } from '../lib/clock.js';
import { json } from '../lib/codec.js';
import { Ledger } from '../lib/ledger.js';
import * as metrics from '../lib/metrics.js';
import { internals, run } from '../lib/profile.js';

/** The longest that a slow member does not read, in seconds; less when all were closed before. */
const STALL = 30;

const test = broadcast('slow-consumer');
const { size, limit } = test;

test.options.scenarios.slow = {
  executor: 'per-vu-iterations',
  exec: 'slow',
  vus: size.slow,
  iterations: 1,
  maxDuration: `${limit + 10}s`,
};
Object.assign(test.options.thresholds, {
  ledgers_closed: [`count==${size.subscribers + size.slow}`],
  // More than once each, where what they missed was more than their outbox takes at once.
  'closes{code:4008}': [`count>=${size.slow}`],
  recovered: [`count>=${size.slow}`],
});

export const { options, subscribe, publish, handleSummary } = test;

export function slow() {
  const member = new SlowMember(now() + limit * 1000);
  while (!member.ledger.complete && now() < member.until) member.live();
  member.report();
}

/** A member that stops reading at its first message, and behaves well once it was closed for it. */
class SlowMember {
  constructor(until) {
    this.until = until;
    this.ledger = new Ledger(run, publisherNames(size, 0));
    this.position = null;
    this.stalled = false;
  }

  /** One connection, from its opening to its end. */
  live() {
    let code = 1006;
    ws.connect(urlOf(exec.scenario.iterationInTest), {}, (socket) => {
      socket.on('open', () => {
        const since = this.position || undefined;
        socket.send(json.encode({ type: 'join', id: 1, room: roomName(0), since }));
      });
      socket.on('message', (text) => {
        this.take(json.decode(text));
        if (this.ledger.complete) socket.close(1000);
      });
      socket.on('close', (how) => {
        code = how;
      });
      socket.setTimeout(() => socket.close(1000), Math.max(1, this.until - now()));
    });
    if (!this.ledger.complete) metrics.closes.add(1, { code: String(code) });
  }

  take(event) {
    if (event.type === 'joined') {
      if (this.position) {
        (event.recovered === true ? metrics.recovered : metrics.unrecovered).add(1);
      }
      for (const message of event.messages) this.ledger.enter(message.data);
      this.position = { epoch: event.epoch, offset: event.offset };
    } else if (event.type === 'message') {
      if (event.offset > this.position.offset + 1) metrics.offsetGaps.add(1);
      this.position.offset = event.offset;
      this.ledger.enter(event.data);
      if (!this.stalled) this.stall();
    }
  }

  /** Reads nothing until the nodes say that every slow member was closed, or for long. */
  stall() {
    this.stalled = true;
    const end = Math.min(now() + STALL * 1000, this.until);
    while (now() < end && !(internals.length > 0 && slowConsumersClosed() >= size.slow)) sleep(0.2);
  }

  report() {
    const { ledger } = this;
    metrics.delivered.add(ledger.delivered);
    metrics.lost.add(ledger.lost);
    metrics.duplicates.add(ledger.duplicates);
    metrics.outOfOrder.add(ledger.outOfOrder);
    (ledger.closed ? metrics.ledgersClosed : metrics.ledgersOpen).add(1);
  }
}

/** How many the nodes have closed since they started. */
function slowConsumersClosed() {
  const line = /^fanfare_slow_consumers_total\{action="disconnect"\} (\d+)/m;
  return internals.reduce((sum, internal) => {
    const match = line.exec(http.get(`${internal}/metrics`).body || '');
    return sum + (match ? Number(match[1]) : 0);
  }, 0);
}
