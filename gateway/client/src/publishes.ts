/**
 * Publishes without an answer, in the order of the calls. One whose reply did not come is sent again
 * with its key, so that it is accepted once.
 */

import type { Done } from "./commands.js";
import { FanfareError } from "./error.js";
import type { Limits } from "./limits.js";
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

/** What the queue needs of the client. */
export interface PublishPort {
  readonly limits: Limits;
  ready(): boolean;
  command(body: unknown, done: Done): void;
  /** Calls `flush` after a pause; the pause grows with `attempt`. */
  pause(attempt: number): void;
}

export class Publishes {
  #queue = new Set<Publish>();
  #retries = 0;
  readonly #port: PublishPort;

  constructor(port: PublishPort) { this.#port = port; }

  add(room: Room<any>, body: unknown, done: Done): void {
    const { PUBLISHES } = this.#port.limits;
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
      if (!this.#port.ready()) return;
      if (publish.sent || !publish.room.joined) continue;
      publish.sent = true;
      publish.expiry ??= letGo(setTimeout(() => {
        const unknown = new FanfareError("timeout", "no answer: it may have been accepted or not");
        publish.settle(publish.cause ?? unknown);
      }, this.#port.limits.RESEND));
      this.#port.command(publish.body, (error, reply) => this.#answered(publish, error, reply));
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
    if (this.#port.ready()) this.#port.pause(this.#retries++);
  }

  /** Fails all, or those of a room that were not sent. */
  fail(error: FanfareError, room?: Room<any>): void {
    for (const publish of this.#queue) {
      if (!room || (publish.room === room && !publish.sent)) publish.settle(error);
    }
  }
}
