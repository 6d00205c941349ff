/** A room that stays joined: its membership through reconnections, its listeners, its commands. */

import type { Fanfare } from "./client.js";
import { Emitter } from "./emitter.js";
import { FanfareError } from "./error.js";
import { toPromise, type Callback } from "./promise.js";
import { randomKey } from "./key.js";
import { Sequence } from "./sequence.js";
import { letGo } from "./timers.js";
import type {
  History, Member, Message, Position, Presence, Published, RoomEvents,
} from "./protocol.js";

export interface JoinOptions {
  /** How many kept messages to get at first. */
  history?: number;
  /** `false`: messages as they come, for rooms that drop some on purpose. */
  recover?: boolean;
  /** `false`: what this client publishes here does not come back to it. */
  echo?: boolean;
}

export interface PublishOptions {
  event?: string;
  /** A key used again is accepted once; without one each publish has its own. */
  key?: string;
  echo?: boolean;
}

/** The listeners of a room: its own events, and the application's by their names. */
export type Heard<Events> = RoomEvents & {
  [Event in Exclude<keyof Events, keyof RoomEvents>]: Message<Events[Event]>;
};

const OWN = new Set(["message", "joined", "recovered", "reset", "member", "error"]);

/** A room joined through `Fanfare.join`. */
export class Room<Events extends object = {}> extends Emitter<Heard<Events>> {
  readonly name: string;
  /** Whether the server has this connection for a member now. */
  joined = false;
  #client: Fanfare;
  /** @internal */ readonly _options: JoinOptions;
  #sequence: Sequence;
  #joining = false;
  /** Was a member before, so that a later join may have missed something. */
  #entered = false;
  #awaySince: number | null = null;
  /** Why the membership ended for good. */
  #ended: FanfareError | null = null;
  /** The highest offset set aside while joining. */
  #ahead = 0;
  #attempts = 0;
  #timer: any;
  #ready?: { promise: Promise<Room<Events>>; resolve(room: Room<Events>): void; reject(error: Error): void };
  /** @internal */ readonly _failed: (error: unknown) => void;

  /** @internal */
  constructor(client: Fanfare, name: string, options: JoinOptions) {
    super();
    this.#client = client;
    this._options = { history: 0, recover: true, echo: true, ...options };
    this.#sequence = new Sequence(client._limits.ASIDE);
    this._failed = client._failed;
    this.name = name;
  }

  /** Of the last message; null before the first join or without a log. */
  get position(): Position | null { return this.#sequence.position; }

  /** Resolves at the first join; rejects if the room cannot be joined or is left before. */
  get ready(): Promise<this> {
    if (!this.#ready) {
      const ready: any = this.#ready = {} as any;
      ready.promise = new Promise((resolve, reject) => Object.assign(ready, { resolve, reject }));
      if (this.#entered) ready.resolve(this);
      else if (this.#ended) ready.reject(this.#ended);
    }
    return this.#ready!.promise as Promise<this>;
  }

  /** Publishes. Offline it waits; it is settled when the server has answered. */
  publish(data: unknown, options?: PublishOptions): Promise<Published>;
  publish(data: unknown, options: PublishOptions | undefined, callback: Callback<Published>): void;
  publish(data: unknown, options: PublishOptions = {}, callback?: Callback<Published>): any {
    return toPromise(callback, this._failed, (done) => {
      if (this.#ended) return done(this.#ended);
      const { event, key = randomKey(), echo = this._options.echo } = options;
      const body = this.#client._wire.body({
        type: "publish", room: this.name, event, key,
        echo: echo === false ? false : undefined,
        data: data === undefined ? null : data,
      });
      if (echo === false) this.#sequence.quiet();
      this.#client._publishes.add(this, body, (error, reply) => {
        if (echo === false) this.#sequence.answered(error ? undefined : reply).forEach((m) => this._take(m));
        done(error, reply && { epoch: reply.epoch, offset: reply.offset });
      });
    });
  }

  /** Publishes with the name of an event of the application. */
  emit<E extends keyof Events & string>(event: E, data: Events[E], options?: PublishOptions): Promise<Published>;
  emit<E extends keyof Events & string>(
    event: E, data: Events[E], options: PublishOptions | undefined, callback: Callback<Published>): void;
  emit(event: string, data: unknown, options?: PublishOptions, callback?: Callback<Published>): any {
    return this.publish(data, { ...options, event }, callback as Callback<Published>);
  }

  /**
   * Who is here: a page of members, and how many connections and users there are in all. `limit: 0`
   * asks for the numbers alone; the page after one is had with its `next` as `after`.
   */
  presence({ limit, after }: { limit?: number; after?: string } = {}): Promise<Presence> {
    return this.#request({ type: "presence", limit, after });
  }

  /** Everyone who is here, asked for page by page: whoever stays meanwhile comes exactly once. */
  async *members({ limit }: { limit?: number } = {}): AsyncGenerator<Member, void, undefined> {
    let after: string | undefined;
    do {
      const page = await this.presence({ limit, after });
      yield* page.members;
      after = page.next;
    } while (after);
  }

  /** Reads the log: what came after `since`, or the newest messages, oldest first. */
  history({ since, limit }: { since?: Position; limit?: number } = {}): Promise<History> {
    return this.#request({ type: "history", since, limit });
  }

  /** Leaves the room, for good. */
  async leave(): Promise<void> {
    if (this.#ended) return;
    const member = this.joined || this.#joining;
    this.#end(new FanfareError("left", "the room was left"));
    if (member) await this.#request({ type: "leave" }, true).catch(() => {});
  }

  #request(command: object, ended = false): Promise<any> {
    return toPromise(undefined, this._failed, (done) => {
      if (this.#ended && !ended) return done(this.#ended);
      this.#client._request({ ...command, room: this.name }, done);
    }) as Promise<any>;
  }

  /** `refill`: asks for the latest messages, not for those missed. @internal */
  _join(refill = false): void {
    if (this.#joining || this.#ended) return;
    this.#joining = true;
    clearTimeout(this.#timer);
    const { recover, history } = this._options;
    const since = recover && !refill && this.position ? this.position : undefined;
    const command = {
      type: "join", room: this.name, since, history: since ? undefined : history || undefined,
    };
    this.#client._command(this.#client._wire.body(command), (error, reply) => {
      this.#joining = false;
      if (this.#ended) return;
      if (error) this._refused(error);
      else this.#accepted(reply, since !== undefined, refill);
    });
  }

  /** @internal */
  _refused(error: FanfareError): void {
    if (error.code === "disconnected") return;
    if (error.retry) {
      this.#timer = letGo(setTimeout(() => this._join(), this.#client._backoff.wait(this.#attempts++)));
      return;
    }
    // A refusal is told where somebody listens, else shown: it is never silent.
    const told = this.#ready !== undefined;
    this.#end(error);
    if (!this._emit("error", error) && !told) this.#client._trouble(error);
  }

  #accepted(reply: any, asked: boolean, refill: boolean): void {
    const { epoch, offset, messages = [] } = reply;
    const { recover, history } = this._options;
    const recovered = asked ? reply.recovered === true : !this.#entered;
    const away = this.#awaySince;
    if (!refill && !recovered && recover) {
      this.#emit("reset", { reason: "the server no longer has all messages since" });
    }
    this.#attempts = 0;
    this.#awaySince = null;
    this.#entered = this.joined = true;
    if (asked && !recovered && history && !messages.length) {
      this._join(true);
    } else {
      const fresh = this.#sequence.adopt(reply, messages);
      this.#emit("joined", { epoch, offset, recovered });
      for (const message of fresh) this.#deliver({ ...message, room: this.name, replayed: true });
      if (asked && recovered && away !== null) {
        this.#emit("recovered", { messages: fresh.length, away: Date.now() - away });
      }
      const behind = recover && this.position && this.#ahead > this.position.offset;
      this.#ahead = 0;
      if (behind) this._join();
    }
    this.#ready?.resolve(this);
    this.#client._publishes.flush();
  }

  /** @internal */
  _take(message: Message): void {
    if (this.#ended) return;
    const { offset } = message;
    if (offset !== undefined && this._options.recover && (this.position || this.#joining)) {
      const verdict = this.position ? this.#sequence.take(message) : "gap";
      if (verdict === "drop" || (verdict === "aside" && !this.#joining)) return;
      if (verdict !== "deliver") {
        // Also where there is nothing to compare with yet: the reply to a join covers it.
        this.#ahead = Math.max(this.#ahead, offset);
        return this._join();
      }
    }
    this.#deliver(message);
  }

  /** The room's log was lost and begins anew. @internal */
  _reset({ epoch, offset, reason }: { epoch?: string; offset?: number; reason?: string }): void {
    this.#emit("reset", { reason: reason ?? "the room's log was lost" });
    this.#sequence.reset(epoch, offset);
    this.#ahead = 0;
    if (!this.position) this._join(true);
  }

  /** @internal */
  _lost(): void {
    if (this.joined) this.#awaySince ??= Date.now();
    this.joined = this.#joining = false;
    this.#ahead = 0;
    clearTimeout(this.#timer);
  }

  #deliver(message: Message): void {
    this.#emit("message", message);
    const { event } = message;
    // A stranger may name an event as it likes: it never passes for one of the room's own.
    if (event !== undefined && !OWN.has(event)) this._emit(event, message);
  }

  #emit<K extends keyof RoomEvents>(type: K, detail: RoomEvents[K]): void {
    this._emit(type, detail);
  }

  #end(error: FanfareError): void {
    this.#ended = error;
    this._lost();
    this.#ready?.reject(error);
    this.#client._forget(this, error);
  }
}
