/**
 * Publishes without an answer, in the order of the calls. One whose reply did not come is sent again
 * with its key, so that it is accepted once.
 */

import type { Fanfare } from "./client.js";
import type { Done } from "./commands.js";
import { FanfareError } from "./error.js";
import type { Room } from "./room.js";
import { letGo } from "./timers.js";

interface Publish {
  room: Room<any>;
  body: unknown;
  settle: Done;
  sent: boolean;
  expiry?: any;
  cause?: FanfareError;
}

export class Publishes {
  #queue = new Set<Publish>();
  #retries = 0;
  readonly #client: Fanfare;

  constructor(client: Fanfare) { this.#client = client; }

  add(room: Room<any>, body: unknown, done: Done): void {
    if (this.#client.state === "closed") return done(new FanfareError("closed"));
    const { PUBLISHES } = this.#client._limits;
    if (this.#queue.size >= PUBLISHES) {
      return done(new FanfareError("queue_full", `${PUBLISHES} messages wait already`));
    }
    const publish: Publish = { room, body, sent: false, settle: (error, reply) => {
      if (!this.#queue.delete(publish)) return;
      clearTimeout(publish.expiry);
      done(error, reply);
    } };
    this.#queue.add(publish);
    this.flush();
  }

  /** Sends every publish whose room is joined. */
  flush(): void {
    for (const publish of this.#queue) {
      if (!this.#client._ready) return;
      if (publish.sent || !publish.room.joined) continue;
      publish.sent = true;
      publish.expiry ??= letGo(setTimeout(() => {
        const unknown = new FanfareError("timeout", "no answer: it may have been accepted or not");
        publish.settle(publish.cause ?? unknown);
      }, this.#client._limits.RESEND));
      this.#client._command(publish.body, (error, reply) => this.#answered(publish, error, reply));
    }
  }

  #answered(publish: Publish, error: FanfareError | null, reply: any): void {
    if (!this.#queue.has(publish)) return;
    if (!error?.retry) {
      if (!error) this.#retries = 0;
      return publish.settle(error, reply);
    }
    publish.sent = false;
    if (error.code === "disconnected") return;
    publish.cause = error;
    // One pause for all of them, so that a refused one is not overtaken by the next.
    if (!this.#client._ready) return;
    const wait = this.#client._backoff.wait(this.#retries++);
    this.#client._timers.after("retry", wait, () => this.flush());
  }

  /** Fails all, or those of a room that were not sent. */
  fail(error: FanfareError, room?: Room<any>): void {
    for (const publish of this.#queue) {
      if (!room || (publish.room === room && !publish.sent)) publish.settle(error);
    }
  }
}
