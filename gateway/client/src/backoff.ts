/** How long to wait before the next attempt: a random part of a time that doubles ("full jitter"). */

import type { CloseRule } from "./codes.js";
import type { Limits } from "./limits.js";

export class Backoff {
  #attempts = 0;
  readonly #limits: Limits;
  readonly #random: () => number;

  constructor(limits: Limits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
  }

  /** A wait for the attempt of that number, from 0. */
  wait(attempt: number): number {
    const { BACKOFF_BASE, BACKOFF_CAP } = this.#limits;
    return this.#random() * Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** attempt);
  }

  /** The wait before the next connection, after one that lasted `lasted` milliseconds. */
  reconnect(rule: CloseRule, lasted: number): number {
    if (lasted >= this.#limits.STABLE) this.#attempts = 0;
    const least = rule.reconnect === "later" ? this.#limits.BACKOFF_LATER : 0;
    this.#attempts = Math.max(this.#attempts, least) + 1;
    return this.wait(this.#attempts - 1);
  }
}
