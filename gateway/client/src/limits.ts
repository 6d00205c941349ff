/** Every queue and wait of the client: what an application may set by the option `limits`. */

/** Bounds and waits, in milliseconds unless the name says otherwise. */
export interface Limits {
  /** Reconnecting waits a random time up to base · 2ⁿ, never above the cap ("full jitter"). */
  BACKOFF_BASE: number;
  BACKOFF_CAP: number;
  /** n for a server that asked to come back later (1013, 4012): it waits up to 16 s at once. */
  BACKOFF_LATER: number;
  /** n starts again from 0 only after a connection lasted this long. */
  STABLE: number;
  /** The longest `retry_ms` of a close reason that is believed. */
  RETRY_HINT_CAP: number;
  /** From opening a socket to the welcome, authentication included; then the socket is given up. */
  CONNECT: number;
  /**
   * From a command to its reply; then it fails with `timeout`, a publish or join is repeated, and
   * the connection is checked by a ping.
   */
  COMMAND: number;
  /** Silence in seconds before a ping, when the welcome names none. */
  HEARTBEAT_SECONDS: number;
  /** The wait for a pong when a command timed out, the page wakes up or the network returns. */
  WAKE: number;
  /**
   * How long a publish that was once sent may be retried: past it the server may have forgotten its
   * key, so it fails with `timeout`, accepted or not. One never sent waits as long as it takes.
   */
  RESEND: number;
  /** Publishes without an answer, queued or sent; at the bound they reject with `queue_full`. */
  PUBLISHES: number;
  /** Commands of all kinds without an answer; at the bound `presence` and `history` reject alike. */
  COMMANDS: number;
  /** Rooms of one client; at the bound `join` throws. */
  ROOMS: number;
  /** Messages of one room set aside while a publish with `echo: false` has no answer. */
  ASIDE: number;
  /** The longest wait before a token is renewed (a timer's own limit is 24 days). */
  RENEW_CAP: number;
}

export const LIMITS: Readonly<Limits> = Object.freeze({
  BACKOFF_BASE: 500,
  BACKOFF_CAP: 30_000,
  BACKOFF_LATER: 5,
  STABLE: 10_000,
  RETRY_HINT_CAP: 300_000,
  CONNECT: 10_000,
  COMMAND: 10_000,
  HEARTBEAT_SECONDS: 25,
  WAKE: 5_000,
  RESEND: 60_000,
  PUBLISHES: 256,
  COMMANDS: 2_048,
  ROOMS: 1_024,
  ASIDE: 256,
  RENEW_CAP: 12 * 3_600_000,
});

/** The defaults with what an application set; a name or value that cannot be throws. */
export function withLimits(given: Partial<Limits> = {}): Limits {
  for (const [name, value] of Object.entries(given)) {
    if (!(name in LIMITS)) throw new TypeError(`limits.${name}: there is no such limit`);
    if (!(Number(value) > 0)) throw new TypeError(`limits.${name}: has to be above 0`);
  }
  return { ...LIMITS, ...given };
}
