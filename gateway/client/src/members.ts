/**
 * `fanfare-client/members`: who is in a room, kept right. Read page by page, changed by what the
 * server tells, and read anew after each join and every so often, since what is told is not kept
 * for those who were away, and in rooms whose rule does not announce nothing is told.
 */

import { Emitter } from "./emitter.js";
import { show, type FanfareError } from "./error.js";
import type { Member, MemberChange, Presence } from "./protocol.js";
import type { Room } from "./room.js";
import { Timers } from "./timers.js";

export interface MembersOptions {
  /** How many are listed at most, 10,000 by default; a larger room is not `complete`. */
  most?: number;
  /** How often, about, the room is read anew, in milliseconds; 30,000 by default. */
  refresh?: number;
}

const shared = new WeakMap<Room<any>, Members>();

/** The members of a room as a map that stays right, one for all who watch, until each has `stop`ped. */
export function watchMembers(room: Room<any>, options: MembersOptions = {}): Members {
  let members = shared.get(room);
  if (!members) shared.set(room, members = new Members(room, options, () => shared.delete(room)));
  members._watchers += 1;
  return members;
}

/** A live map from `client` to member. `change` comes after each change. */
export class Members extends Emitter<{ change: Members; error: FanfareError }> {
  /** Connections and users in the room, also those that are not listed. */
  count = 0;
  users = 0;
  /** Whether all are listed: the room is not too large, and was read to its end. */
  complete = false;
  /** Resolves once the room was read for the first time; rejects where it may not be. */
  readonly ready: Promise<this>;
  /** @internal */ _watchers = 0;
  /** @internal */ readonly _failed = show;
  #list = new Map<string, Member>();
  /** What was told while the pages are read: it is newer than they are. */
  #told: Map<string, Member | null> | null = null;
  #again = false;
  #stopped = false;
  #settle!: (error?: FanfareError) => void;
  readonly #timers = new Timers();
  readonly #room: Room<any>;
  readonly #most: number;
  readonly #refresh: number;
  readonly #release: () => void;
  readonly #unlisten: (() => void)[];

  /** @internal */
  constructor(room: Room<any>, { most = 10_000, refresh = 30_000 }: MembersOptions, release: () => void) {
    super();
    if (!(most > 0 && refresh > 0)) throw new TypeError("most and refresh have to be above 0");
    this.#room = room;
    this.#most = most;
    this.#refresh = refresh;
    this.#release = release;
    this.ready = new Promise((resolve, reject) => {
      this.#settle = (error) => error ? reject(error) : resolve(this);
    });
    // Who does not ask for `ready` need not handle its failure.
    this.ready.catch(() => {});
    this.#unlisten = [
      room.on("member", (change: any) => this.#hear(change)),
      room.on("joined", () => this.#read()),
      room.on("error", (error: any) => this.#fail(error)),
    ];
    void this.#read();
  }

  get size(): number { return this.#list.size; }
  get(client: string): Member | undefined { return this.#list.get(client); }
  has(client: string): boolean { return this.#list.has(client); }
  keys(): IterableIterator<string> { return this.#list.keys(); }
  values(): IterableIterator<Member> { return this.#list.values(); }
  entries(): IterableIterator<[string, Member]> { return this.#list.entries(); }
  [Symbol.iterator](): IterableIterator<[string, Member]> { return this.#list.entries(); }

  /** Ends one watching; after the last one the server is asked no more. */
  stop(): void {
    if (--this._watchers === 0) this.#end();
  }

  #end(): void {
    this.#stopped = true;
    this.#timers.clear();
    for (const unlisten of this.#unlisten) unlisten();
    this.#release();
  }

  #fail(error: FanfareError): void {
    this.#end();
    this.#settle(error);
    this._emit("error", error);
  }

  #hear(change: MemberChange): void {
    if (change.action === "count") {
      const same = change.count === this.count && !change.joined && !change.left;
      this.count = change.count;
      this.users = change.users;
      if (same) return;
      // Told once a second at most, of many: they are read anew, but not that often.
      this.complete = false;
      if (!this.#timers.has("soon")) {
        this.#timers.after("soon", (this.#refresh / 6) * (1 + Math.random()), () => this.#read());
      }
    } else {
      const { client, user, info } = change;
      const before = this.#list.size;
      const member: Member = { client, ...(user !== undefined && { user }), ...(info !== undefined && { info }) };
      this.#told?.set(client, change.action === "leave" ? null : member);
      if (change.action === "leave") this.#list.delete(client);
      else this.#list.set(client, member);
      this.count += this.#list.size - before;
    }
    this._emit("change", this);
  }

  /** Reads the whole room; from the start again if it was asked for meanwhile. */
  async #read(): Promise<void> {
    if (this.#stopped) return;
    this.#again = this.#told !== null;
    if (this.#again) return;
    this.#told = new Map();
    try {
      const list = new Map<string, Member>();
      let page: Presence;
      let after: string | undefined;
      do {
        page = await this.#room.presence({ limit: Math.min(1_000, this.#most - list.size), after });
        for (const member of page.members) list.set(member.client, member);
        after = page.next;
      } while (after && list.size < this.#most && !this.#again && !this.#stopped);
      if (!this.#again && !this.#stopped) this.#show(list, page, after === undefined);
    } catch (error) {
      if (!this.#stopped && !(error as FanfareError).retry) this.#fail(error as FanfareError);
    }
    this.#told = null;
    if (this.#stopped) return;
    if (this.#again) return this.#read();
    this.#timers.after("refresh", this.#refresh * (0.8 + 0.4 * Math.random()), () => this.#read());
  }

  #show(list: Map<string, Member>, page: Presence, all: boolean): void {
    for (const [client, member] of this.#told ?? []) {
      if (member) list.set(client, member);
      else list.delete(client);
    }
    this.#list = list;
    this.complete = all;
    this.count = all ? list.size : page.count;
    this.users = page.users;
    this.#settle();
    this._emit("change", this);
  }
}
