/** Questions asked while a connection is being made: they go out once it is open, in their order. */

import { FanfareError } from "./error.js";
import type { Done } from "./commands.js";
import { letGo } from "./timers.js";

interface Request { body: unknown; done: Done; timer: any }

export class Requests {
  #waiting = new Set<Request>();

  get size(): number { return this.#waiting.size; }

  add(body: unknown, done: Done, wait: number): void {
    const request: Request = { body, done, timer: undefined };
    request.timer = letGo(setTimeout(() => {
      this.#waiting.delete(request);
      done(new FanfareError("offline", "not connected", true));
    }, wait));
    this.#waiting.add(request);
  }

  /** Hands all of them on, or fails them. */
  flush(take: (body: unknown, done: Done) => void): void {
    const all = [...this.#waiting];
    this.#waiting.clear();
    for (const { body, done, timer } of all) {
      clearTimeout(timer);
      take(body, done);
    }
  }
}
