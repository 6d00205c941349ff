// One fanfare.v1 connection that comes back: the client's side of the contract, and no more.
//
// Reconnects with full jitter as the JavaScript client does, and repeats no command by itself;
// whoever owns it learns `ready` after each welcome and decides. k6 gives no close code: a close
// other than 1000 or 1001 fires `error` first, whose text holds code and reason.

import { WebSocket } from 'k6/experimental/websockets';
import { after, cancel, now } from './clock.js';
import * as metrics from './metrics.js';
import { credentials } from './token.js';

const BACKOFF_BASE = 500;
const BACKOFF_CAP = 30000;
/** A connection that lasted this long starts the backoff again. */
const STABLE = 10000;
/** From opening a socket to the welcome; then it is given up. */
const CONNECT = 10000;
/** One message in so many is timed for the generator's health; each costs a clock's read. */
const HEALTH_SAMPLE = 8;

/** Codes after which nobody comes back. */
const FINAL = [4001, 4003, 4009];

export class Connection {
  /** @param owner its `ready(welcome)`, `lost()` and `event(event, readAt)` are called */
  constructor(url, codec, owner, backoffCap = BACKOFF_CAP) {
    this.url = url;
    this.codec = codec;
    this.owner = owner;
    this.backoffCap = backoffCap;
    this.pending = new Map();
    this.lastId = 0;
    this.attempts = 0;
    this.seen = 0;
    this.credentials = credentials();
    this.ended = false;
    this.open();
  }

  open() {
    const startedAt = now();
    const socket = new WebSocket(this.url, this.codec.protocol, this.credentials);
    let cause = null;
    this.socket = socket;
    this.welcomedAt = null;
    this.left = false;
    socket.binaryType = 'arraybuffer';
    this.timer = after(CONNECT, () => {
      cause = 'no welcome: timeout';
      socket.close();
    });
    socket.onmessage = (event) => {
      this.seen += 1;
      if (this.seen % HEALTH_SAMPLE === 0) metrics.generatorDelay.add(now() - event.timestamp);
      this.receive(this.codec.decode(event.data), event.timestamp, startedAt);
    };
    socket.onerror = (event) => {
      cause = cause || String(event.error);
    };
    socket.onclose = () => this.closed(cause);
  }

  /** Sends a command; `answer(reply)` gets its reply, and null if the connection ends before. */
  command(command, answer) {
    this.lastId += 1;
    this.pending.set(this.lastId, answer);
    this.socket.send(this.codec.encode(Object.assign({ id: this.lastId }, command)));
  }

  /** Closes for good. */
  end() {
    this.ended = true;
    cancel(this.timer);
    this.socket.close(1000);
  }

  /** Closes as a client that goes elsewhere for a moment does, and comes back. */
  churn() {
    if (this.welcomedAt === null) return;
    this.left = true;
    this.socket.close(1000);
  }

  receive(event, readAt, startedAt) {
    if (event.type === 'welcome') {
      cancel(this.timer);
      this.welcomedAt = readAt;
      metrics.connected.add(1);
      metrics.connectTime.add(readAt - startedAt);
      this.owner.ready(event);
      return;
    }
    if (event.type === 'error') metrics.errors.add(1, { code: event.code });
    const answer = event.id && this.pending.get(event.id);
    if (answer) {
      this.pending.delete(event.id);
      answer(event, readAt);
    } else {
      this.owner.event(event, readAt);
    }
  }

  closed(cause) {
    cancel(this.timer);
    if (this.ended) return;
    const open = this.welcomedAt !== null;
    const code = closeCode(cause);
    if (open && !this.left) metrics.closes.add(1, { code: String(code) });
    if (!open) metrics.connectFailures.add(1, { kind: failure(cause) });
    if (open && now() - this.welcomedAt >= STABLE) this.attempts = 0;
    const waiting = Array.from(this.pending.values());
    this.pending.clear();
    this.owner.lost();
    for (const answer of waiting) answer(null);
    if (FINAL.includes(code)) return;
    const spread = Math.min(this.backoffCap, BACKOFF_BASE * 2 ** this.attempts);
    this.attempts += 1;
    this.timer = after(retryHint(cause) + Math.random() * spread, () => this.open());
  }
}

/** 1000 stands for 1001 too: k6 tells them from all others, but not from each other. */
function closeCode(cause) {
  const match = /websocket: close (\d+)/.exec(cause || '');
  if (match) return Number(match[1]);
  return cause ? 1006 : 1000;
}

function failure(cause) {
  if (/refused/.test(cause)) return 'refused';
  if (/bad handshake/.test(cause)) return 'status';
  return /timeout/.test(cause) ? 'timeout' : 'other';
}

/** A close reason may be JSON with the milliseconds to wait. */
function retryHint(cause) {
  const match = /"retry_ms":\s*(\d+)/.exec(cause || '');
  return match ? Math.min(Number(match[1]), 60000) : 0;
}
