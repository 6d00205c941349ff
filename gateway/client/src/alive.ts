/**
 * Whether the other side still answers. A page cannot see ping frames, so it sends a `ping` command
 * after silence, and at once when there is reason to doubt.
 */

import type { Timers } from "./timers.js";

export interface AlivePort {
  /** Sends a ping and calls `done` at its reply or after `patience` milliseconds. */
  ping(patience: number, done: () => void): void;
  dead(): void;
}

export class Alive {
  /** How long silence may last, in milliseconds. */
  interval = 0;
  #received = 0;
  #heardAt = 0;
  /** Grows with each connection: what an older one asked is void. */
  #life = 0;
  #probing = false;
  readonly #timers: Timers;
  readonly #port: AlivePort;

  constructor(timers: Timers, port: AlivePort) {
    this.#timers = timers;
    this.#port = port;
  }

  heard(): void {
    this.#received += 1;
    this.#heardAt = Date.now();
  }

  start(interval: number): void {
    this.interval = interval;
    this.#listen(interval);
  }

  stop(): void {
    this.#life += 1;
    this.#probing = false;
    this.#timers.stop("alive");
  }

  #listen(wait: number): void {
    this.#timers.after("alive", wait, () => {
      const quiet = Date.now() - this.#heardAt;
      if (quiet < this.interval) this.#listen(this.interval - quiet);
      else this.probe(this.interval / 2);
    });
  }

  /** Asks now; without a sign of life within `patience` the connection is dead. */
  probe(patience: number): void {
    if (this.#probing) return;
    this.#probing = true;
    this.#timers.stop("alive");
    const before = this.#received;
    const life = this.#life;
    this.#port.ping(patience, () => {
      if (life !== this.#life) return;
      this.#probing = false;
      if (this.#received > before) this.#listen(this.interval);
      else this.#port.dead();
    });
  }
}
