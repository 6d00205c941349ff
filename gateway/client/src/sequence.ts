/**
 * A room's position, and what follows on it: each message once, in order, or a gap that says so.
 * A publish with `echo: false` takes an offset that no message will come with; until its reply says
 * which, what seems to come after a gap is set aside.
 */

import type { Message, Position, Published } from "./protocol.js";

export class Sequence {
  /** Of the last message; null before the first join or without a log. */
  position: Position | null = null;
  /** Own offsets above the position that are not echoed. */
  #own = new Set<number>();
  #aside: Message[] = [];
  #unanswered = 0;
  readonly #most: number;

  constructor(most: number) { this.#most = most; }

  /** What to do with a message that arrived. The position moves over one that is to be delivered. */
  take(message: Message): "deliver" | "drop" | "aside" | "gap" {
    const position = this.position;
    const { offset } = message;
    if (!position || offset === undefined) return "deliver";
    if (offset <= position.offset) return "drop";
    if (offset === position.offset + 1) {
      // A message names its epoch where the log has gone on in a new one.
      this.position = { epoch: message.epoch ?? position.epoch, offset };
      this.#skipOwn();
      return "deliver";
    }
    if (!this.#unanswered || this.#aside.length >= this.#most) return "gap";
    this.#aside.push(message);
    return "aside";
  }

  /** Sets the position as a join's reply says, and returns which of its messages are new here. */
  adopt({ epoch, offset }: Published, messages: Message[]): Message[] {
    const same = this.position?.epoch === epoch;
    const seen = same ? this.position?.offset ?? 0 : 0;
    const own = this.#own;
    const fresh = messages.filter((message) =>
      !((message.offset as number) <= seen) && !(same && own.has(message.offset as number)));
    this.reset(epoch, offset);
    return fresh;
  }

  reset(epoch?: string, offset?: number): void {
    this.position = epoch === undefined || offset === undefined ? null : { epoch, offset };
    this.#own = new Set();
    this.#aside = [];
  }

  /** A publish that is not echoed begins. */
  quiet(): void { this.#unanswered += 1; }

  /** It has ended; `at` is where it is in the log. Returns what was set aside, to be taken anew. */
  answered(at?: Published): Message[] {
    this.#unanswered -= 1;
    const { position } = this;
    if (position && at?.offset && at.epoch === position.epoch && at.offset > position.offset) {
      this.#own.add(at.offset);
      this.#skipOwn();
    }
    const aside = this.#aside;
    this.#aside = [];
    return aside;
  }

  #skipOwn(): void {
    const { position } = this;
    if (!position) return;
    let { offset } = position;
    while (this.#own.delete(offset + 1)) offset += 1;
    if (offset !== position.offset) this.position = { ...position, offset };
  }
}
