/** Commands that wait for their one reply, by id. */

import { FanfareError } from "./error.js";
import { letGo } from "./timers.js";

export type Done = (error: FanfareError | null, reply?: any) => void;

export class Commands {
  #pending = new Map<number, { done: Done; timer: any }>();
  #lastId = 0;

  get size(): number { return this.#pending.size; }

  /** Takes a new id; `late` is called if no reply comes in time. */
  begin(done: Done, wait: number, late?: () => void): number {
    const id = ++this.#lastId;
    const timer = letGo(setTimeout(() => {
      this.answer(id, new FanfareError("timeout", "no reply", true));
      late?.();
    }, wait));
    this.#pending.set(id, { done, timer });
    return id;
  }

  answer(id: number, error: FanfareError | null, reply?: any): void {
    const command = this.#pending.get(id);
    if (!command) return;
    this.#pending.delete(id);
    clearTimeout(command.timer);
    command.done(error, reply);
  }

  /** The connection is lost, and their replies with it. */
  fail(error: FanfareError): void {
    for (const id of [...this.#pending.keys()]) this.answer(id, error);
  }
}
