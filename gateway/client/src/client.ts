/** One connection to a Fanfare node, and the next one after it; the rooms and commands over it. */

import { Alive } from "./alive.js";
import { Backoff } from "./backoff.js";
import { CLOSE_CODES, readReason, type CloseRule } from "./codes.js";
import { Commands, type Done } from "./commands.js";
import { Emitter } from "./emitter.js";
import { FanfareError, show } from "./error.js";
import { withLimits, type Limits } from "./limits.js";
import type { Options } from "./options.js";
import { address } from "./place.js";
import type { ClientEvents, State, StateChange, Welcome } from "./protocol.js";
import { Publishes } from "./publishes.js";
import { Requests } from "./requests.js";
import { Room, type JoinOptions } from "./room.js";
import { constructorOf, Socket } from "./socket.js";
import { Timers } from "./timers.js";
import { hidden, watchPage } from "./wake.js";
import { json, type Wire } from "./wire.js";

/** A client of a Fanfare node, or of one after the other. */
export class Fanfare extends Emitter<ClientEvents> {
  readonly #url: string;
  readonly #options: Options;
  /** @internal */ readonly _wire: Wire;
  /** @internal */ readonly _limits: Limits;
  /** @internal */ readonly _backoff: Backoff;
  /** @internal */ readonly _timers = new Timers();
  readonly #commands = new Commands();
  readonly #requests = new Requests();
  /** @internal */ readonly _publishes: Publishes;
  readonly #alive: Alive;
  #rooms = new Map<string, Room<any>>();
  #socket: Socket | null = null;
  #state: State = "closed";
  #welcome: Welcome | null = null;
  /** The attempt to connect that waits for its token. */
  #attempt: object | null = null;
  /** Not yet told to connect. */
  #idle = true;
  #openedAt = 0;
  #notBefore = 0;
  /** @internal */ readonly _failed = show;

  constructor(url?: string | { readonly href: string }, options: Options = {}) {
    super();
    const random = options.random ?? Math.random;
    this.#url = address(url);
    this.#options = options;
    this._wire = options.wire ?? json;
    this._limits = withLimits(options.limits);
    this._backoff = new Backoff(this._limits, random);
    this._publishes = new Publishes(this);
    this.#alive = new Alive(this._timers, {
      ping: (patience, done) => this._command(this._wire.body({ type: "ping" }), done, patience, true),
      dead: () => this.#lost(4011, "the server fell silent"),
    });
    if (!options.lazy) this.connect();
  }

  get state(): State { return this.#state; }
  /** This connection's id, the `from.client` of what it publishes; a new one on each connection. */
  get id(): string | undefined { return this.#welcome?.client; }
  get node(): string | undefined { return this.#welcome?.node; }
  get user(): string | undefined { return this.#welcome?.user; }

  /** Connects now instead of after the wait, or again after a close. */
  connect(): void {
    if (this.#state === "connecting" || this.#state === "open") return;
    const { token } = this.#options;
    constructorOf(this.#options.WebSocket);
    if (typeof token === "function") this.#fetch(token);
    else this.#dial(token);
    if (this.#state === "closed") watchPage(true, this.#wake);
    this.#idle = false;
    this._timers.stop("reconnect");
    this._timers.after("connect", this._limits.CONNECT, () => this.#lost(1006, "no answer"), true);
    this.#become({ state: "connecting" });
  }

  /** Asks for a token and connects with it, unless that was given up meanwhile. */
  #fetch(token: () => string | Promise<string>): void {
    const attempt = this.#attempt = {};
    const current = () => attempt === this.#attempt && this.#state === "connecting";
    new Promise<string>((resolve) => resolve(token())).then(
      (credential) => { if (current()) this.#dial(credential); },
    ).catch((error) => { if (current()) this.#lost(1006, String(error)); });
  }

  #dial(credential: string | undefined): void {
    const protocol = this._wire.protocol;
    const protocols = credential ? [protocol, `fanfare.token.${credential}`] : protocol;
    this.#socket = new Socket(this.#options.WebSocket, this.#url, protocols, {
      received: (data) => this.#receive(data),
      ended: (code, reason) => this.#lost(code, reason),
    });
  }

  /** Closes until `connect`: what waits rejects, rooms keep their position. */
  close(): void {
    this.#idle = false;
    if (this.#state !== "closed") this.#lost(1000, "");
  }

  /**
   * Joins a room now and after each reconnection. The same room again is the same object; with
   * other options it throws, since they could not be kept for both.
   */
  join<Events extends object = {}>(name: string, options: JoinOptions = {}): Room<Events> {
    const known = this.#rooms.get(name);
    if (known) {
      for (const [key, value] of Object.entries(options)) {
        const have = known._options[key as keyof JoinOptions];
        if (value === undefined || value === have) continue;
        throw new FanfareError("conflict", `${key}: the room is joined with ${have}, not ${value};`
          + " read more by its history(), or leave it first");
      }
      return known;
    }
    const { ROOMS } = this._limits;
    if (this.#rooms.size >= ROOMS) throw new FanfareError("queue_full", `${ROOMS} rooms are joined`);
    const room = new Room<Events>(this, name, options);
    this.#rooms.set(name, room);
    if (this.#state === "open") room._join();
    else if (this.#idle) this.connect();
    return room;
  }

  /**
   * A question: it waits for a connection that is being made, but not for one that was lost.
   * @internal
   */
  _request(command: object, done: Done): void {
    const body = this._wire.body(command);
    if (this.#state === "closed") return done(new FanfareError("closed"));
    if (this.#state === "waiting") return done(new FanfareError("offline", "not connected", true));
    const { COMMANDS, COMMAND } = this._limits;
    if (this.#commands.size + this.#requests.size >= COMMANDS) {
      return done(new FanfareError("queue_full", `${COMMANDS} commands wait already`));
    }
    if (this.#state === "open") this._command(body, done);
    else this.#requests.add(body, done, COMMAND);
  }

  /** @internal */
  _command(body: unknown, done: Done, wait = this._limits.COMMAND, ping = false): void {
    // A listener may have closed the client in the middle of what led here.
    const socket = this.#socket;
    if (!socket) return done(new FanfareError("disconnected", "not connected", true));
    // A node that leaves a command without its reply may be dead: it is asked at once.
    const late = () => {
      if (this.#state === "open") this.#alive.probe(this.#patience);
    };
    const id = this.#commands.begin(done, wait, ping ? undefined : late);
    const frame = this._wire.frame(body, id);
    const most = this.#welcome?.max_message ?? Infinity;
    if (!this._wire.fits(frame, most)) {
      return this.#commands.answer(id, new FanfareError("too_large", `more than ${most} bytes`));
    }
    this.#debug("send", frame);
    try {
      socket.send(frame);
    } catch {
      // It is closing, and will say so; or the ping will find it dead.
      this.#commands.answer(id, new FanfareError("disconnected", "not connected", true));
    }
  }

  /** Whether publishes may go out now. @internal */
  get _ready(): boolean { return this.#state === "open" && !this._timers.has("retry"); }

  /** Ends a room's membership here. @internal */
  _forget(room: Room<any>, error: FanfareError): void {
    if (this.#rooms.get(room.name) === room) this.#rooms.delete(room.name);
    this._publishes.fail(error, room);
  }

  #receive(data: unknown): void {
    this.#alive.heard();
    this.#debug("receive", data);
    let event: any;
    try {
      event = this._wire.decode(data);
    } catch {
      return this._trouble(new FanfareError("bad_request", "the server sent what is no event"));
    }
    const room = this.#rooms.get(event.room);
    switch (event.type) {
      case "welcome": return this.#welcomed(event);
      case "message": return event.direct ? void this._emit("direct", event) : room?._take(event);
      case "member": return void room?._emit("member", event);
      case "reset": return room?._reset(event);
      case "error": {
        const error = new FanfareError(event.code, event.message, event.retry === true);
        return event.id ? this.#commands.answer(event.id, error) : this._trouble(error);
      }
      case "left": if (!event.id) {
        return room?._refused(new FanfareError(event.reason, "the token no longer grants the room"));
      }
      default: if (event.id) this.#commands.answer(event.id, null, event);
    }
  }

  #welcomed(welcome: Welcome): void {
    this.#welcome = welcome;
    this._emit("welcome", welcome);
    if (this.#state !== "connecting") return;
    this.#renewBefore(welcome.expires);
    this._timers.stop("connect");
    this.#openedAt = Date.now();
    const seconds = welcome.heartbeat || this._limits.HEARTBEAT_SECONDS;
    this.#alive.start(seconds * 1000);
    for (const room of this.#rooms.values()) room._join();
    this.#become({ state: "open" });
    this.#requests.flush((body, done) => this._command(body, done));
  }

  /** Brings the next token a while before the last one runs out, where there is one to be had. */
  #renewBefore(expires: number | undefined): void {
    const { token } = this.#options;
    if (typeof token !== "function" || !expires) return;
    const left = Math.max(expires * 1000 - Date.now(), 1_000) * 0.8;
    const wait = Math.min(left, this._limits.RENEW_CAP);
    this._timers.after("renew", wait, () => void this.#renew(token, expires));
  }

  async #renew(token: () => string | Promise<string>, expires: number): Promise<void> {
    const socket = this.#socket;
    let credential: string;
    try {
      credential = await token();
    } catch {
      // The old one still serves for a while.
      if (socket === this.#socket) this.#renewBefore(expires);
      return;
    }
    if (socket !== this.#socket) return;
    this._command(this._wire.body({ type: "auth", token: credential }), (error, reply) => {
      if (error?.code === "disconnected") return;
      if (error) return this.#lost(error.retry ? 1006 : 4001, error.message);
      this.#renewBefore(reply.expires);
    });
  }

  /** The end of a connection, whoever ended it. */
  #lost(code: number, why: unknown): void {
    const rule: CloseRule = CLOSE_CODES[code] ?? { name: `code ${code}`, reconnect: "soon" };
    const { text, retryMs } = readReason(why, this._limits.RETRY_HINT_CAP);
    // A dead peer can hold the closing handshake for long: nobody waits for it.
    this.#socket?.drop(code === 1006 || code === 4011);
    this.#socket = this.#attempt = null;
    this.#alive.stop();
    this._timers.clear();
    const change: StateChange = { state: "closed", code, reason: text || rule.name };
    if (rule.reconnect !== "never") {
      const lasted = this.#state === "open" ? Date.now() - this.#openedAt : 0;
      const delay = retryMs + this._backoff.reconnect(rule, lasted);
      this.#notBefore = Date.now() + retryMs;
      this._timers.after("reconnect", delay, this.#again, true);
      change.state = "waiting";
      change.retryAt = Date.now() + delay;
    }
    this.#state = change.state;
    this.#commands.fail(new FanfareError("disconnected", `lost: ${change.reason}`, !rule.poison));
    for (const room of this.#rooms.values()) room._lost();
    if (this.#state === "closed") {
      watchPage(false, this.#wake);
      const closed = new FanfareError("closed", change.reason);
      this._publishes.fail(closed);
      this.#requests.flush((_, done) => done(closed));
    }
    const heard = this.#become(change);
    // An end for good is never silent, unless the application wanted it.
    if (!heard && change.state === "closed" && code !== 1000) {
      show(new FanfareError("closed", `closed for good with ${code}: ${change.reason}`));
    }
  }

  /** Connects as `connect` does, where nobody is there to catch what the constructor throws. */
  #again = () => {
    try {
      this.connect();
    } catch (error) {
      this.#lost(1006, String(error));
    }
  };

  #become(change: StateChange): boolean {
    this.#state = change.state;
    this.#debug("state", change);
    return this._emit("state", change);
  }

  get #patience(): number { return Math.min(this._limits.WAKE, this.#alive.interval / 2); }

  #wake = () => {
    if (hidden()) return;
    if (this.#state === "open") this.#alive.probe(this.#patience);
    else if (this.#state === "waiting" && Date.now() >= this.#notBefore) this.#again();
  };

  /** Tells an error that belongs to no command; without a listener it is shown. @internal */
  _trouble(error: FanfareError): void {
    if (!this._emit("error", error)) show(error);
  }

  #debug(what: string, detail: unknown): void {
    const { debug } = this.#options;
    if (!debug) return;
    try {
      if (typeof debug === "function") debug(what, detail);
      else console.debug("fanfare", what, detail);
    } catch (error) {
      show(error);
    }
  }
}
