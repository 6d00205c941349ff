/**
 * Fanfare's JavaScript client: rooms over one WebSocket that heals itself.
 *
 * ```js
 * const client = new Fanfare();                       // /ws beside this module's own address
 * const room = client.join("lobby", { history: 50 });
 * room.on("message", ({ data, from, time, offset }) => console.log(data));
 * room.on("reset", () => console.log("some messages may be missing"));
 * await room.publish({ text: "hi" }, { event: "chat" }); // { epoch, offset }
 * for await (const { client, user } of room.members()) console.log(client, user);
 * ```
 *
 * What it promises: a room's messages arrive in order and once; after any disconnection each room
 * is joined again from its last position; what cannot be proved complete raises `reset`. A publish
 * is retried with a key, so a retry cannot double it. Every queue and wait has a bound below.
 * One file without dependencies, so that a page imports it from a node as it is.
 */

const PROTOCOL = "fanfare.v1.json";

/** Bounds and waits, in milliseconds unless the name says otherwise. */
export const LIMITS = Object.freeze({
  /** Reconnecting waits a random time up to base · 2ⁿ, never above the cap ("full jitter"). */
  BACKOFF_BASE: 500,
  BACKOFF_CAP: 30_000,
  /** n for a server that asked to come back later (1013, 4012): it waits up to 16 s at once. */
  BACKOFF_LATER: 5,
  /** n starts again from 0 only after a connection lasted this long. */
  STABLE: 10_000,
  /** The longest `retry_ms` of a close reason that is believed. */
  RETRY_HINT_CAP: 300_000,
  /** From opening a socket to the welcome, authentication included; then the socket is given up. */
  CONNECT: 10_000,
  /** From a command to its reply; then it fails with `timeout`, a publish or join is repeated. */
  COMMAND: 10_000,
  /** Silence in seconds before a ping, when the welcome names none. */
  HEARTBEAT_SECONDS: 25,
  /** The wait for a pong when the page wakes up or the network returns. */
  WAKE: 5_000,
  /**
   * How long a publish that was once sent may be retried: past it the server may have forgotten its
   * key, so it fails with `timeout`, accepted or not. One never sent waits as long as it takes.
   */
  RESEND: 60_000,
  /** Publishes without an answer, queued or sent; at the bound they reject with `queue_full`. */
  PUBLISHES: 256,
  /** Commands of all kinds without an answer; at the bound `presence` and `send` reject alike. */
  COMMANDS: 2_048,
  /** Rooms of one client; at the bound `join` throws. */
  ROOMS: 1_024,
  /** The longest wait before a token is renewed (a timer's own limit is 24 days). */
  RENEW_CAP: 12 * 3_600_000,
});

/**
 * What each close code means for coming back: `never`, `soon`, or `later` (with a longer first
 * wait). A code that is not here comes back soon. `poison`: a publish in flight may be the cause
 * and is not sent again.
 * @type {Readonly<Record<number, CloseRule>>}
 */
export const CLOSE_CODES = Object.freeze({
  1000: { name: "closed", reconnect: "never" },
  1001: { name: "drain", reconnect: "soon" },
  1002: { name: "protocol error", reconnect: "soon", poison: true },
  1003: { name: "unsupported data", reconnect: "soon", poison: true },
  1006: { name: "connection lost", reconnect: "soon" },
  1007: { name: "invalid data", reconnect: "soon", poison: true },
  1008: { name: "policy", reconnect: "soon", poison: true },
  1009: { name: "message too big", reconnect: "soon", poison: true },
  1012: { name: "restart", reconnect: "soon" },
  1013: { name: "overloaded", reconnect: "later" },
  4001: { name: "unauthorized", reconnect: "never" },
  4003: { name: "forbidden", reconnect: "never" },
  4008: { name: "slow consumer", reconnect: "soon" },
  4009: { name: "disconnected by the server", reconnect: "never" },
  4010: { name: "token expired", reconnect: "soon" },
  4011: { name: "no heartbeat", reconnect: "soon" },
  4012: { name: "rate limit", reconnect: "later" },
});

/**
 * @typedef {"connecting"|"open"|"waiting"|"closed"} State
 * @typedef {{name: string, reconnect: "never" | "soon" | "later", poison?: true}} CloseRule
 * @typedef {{epoch: string, offset: number}} Position
 * @typedef {{room?: string, event?: string, data: any, binary?: boolean, epoch?: string, offset?: number,
 *   time?: number, from?: {client?: string, user?: string}, direct?: true,
 *   replayed?: true}} Message
 * @typedef {{client: string, user?: string, node: string, heartbeat?: number,
 *   max_message?: number, auth?: string}} Welcome
 * @typedef {{state: State, code?: number, reason?: string, retryAt?: number}} StateChange
 * @typedef {{client: string, user?: string, info?: any}} Member
 *
 * @typedef {object} Options
 * @property {string | (() => string | Promise<string>)} [token] Sent in an `auth` command on every
 *   connection; a function is asked each time, and again before its token expires.
 * @property {any} [WebSocket] The constructor to use where there is no global one.
 * @property {() => number} [random] In place of `Math.random`, for tests.
 *
 * @typedef {(error: FanfareError | null, reply?: any) => void} Done
 * @typedef {{room: Room, body: string, settle: Done, sent: boolean, expiry?: any,
 *   cause?: FanfareError}} Publish
 */

/**
 * A refused or failed command: `code` is the server's, or one of the client's own: `closed`,
 * `disconnected`, `offline`, `timeout`, `queue_full`, `left`.
 */
export class FanfareError extends Error {
  /** @param {string} code @param {string} [message] @param {boolean} [retry] */
  constructor(code, message = code, retry = false) {
    super(message);
    this.name = "FanfareError";
    this.code = code;
    /** Whether the same command may succeed later. */
    this.retry = retry;
  }
}

class Emitter extends EventTarget {
  /**
   * Calls `listener` with each event's detail; the returned function stops that.
   * @param {string} type @param {(detail: any) => void} listener @returns {() => void}
   */
  on(type, listener) {
    const handler = (/** @type {any} */ event) => listener(event.detail);
    this.addEventListener(type, handler);
    return () => this.removeEventListener(type, handler);
  }

  /** @package @param {string} type @param {any} detail */
  _emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * One connection to a Fanfare node, and the next one after it.
 * Events: `state` (StateChange), `welcome` (Welcome), `direct` (Message sent to this user), `error`
 * (FanfareError that belongs to no command).
 */
export class Fanfare extends Emitter {
  #url;
  #options;
  /** @type {any} */ #socket = null;
  /** @type {State} */ #state = "closed";
  /** @type {Welcome | null} */ #welcome = null;
  /** @type {Map<string, Room>} */ #rooms = new Map();
  /** @type {Map<number, {done: Done, timer: any}>} */ #pending = new Map();
  /** @type {Set<Publish>} */ #publishes = new Set();
  #lastId = 0;
  #received = 0;
  #heardAt = 0;
  #openedAt = 0;
  #attempts = 0;
  #retries = 0;
  #notBefore = 0;
  /** One timer per purpose. @type {Record<string, any>} */
  #timers = {};

  /** @param {string | URL} [url] @param {Options} [options] */
  constructor(url = besideThisModule(), options = {}) {
    super();
    this.#url = String(url);
    this.#options = options;
    this.connect();
  }

  /** @returns {State} */
  get state() { return this.#state; }
  /** This connection's id, the `from.client` of what it publishes; a new one on each connection. */
  get id() { return this.#welcome?.client; }
  get node() { return this.#welcome?.node; }
  get user() { return this.#welcome?.user; }

  /** Connects now instead of after the wait, or again after a close. */
  connect() {
    if (this.#state === "connecting" || this.#state === "open") return;
    const WebSocket = this.#options.WebSocket ?? globalThis.WebSocket;
    const socket = new WebSocket(this.#url, PROTOCOL);
    if (this.#state === "closed") this.#watchPage(true);
    this.#socket = socket;
    this.#stop("reconnect");
    this.#after("connect", LIMITS.CONNECT, () => this.#lost(1006, "no answer"));
    socket.onmessage = (/** @type {any} */ event) => this.#receive(event.data);
    socket.onclose = (/** @type {any} */ event) => this.#lost(event.code, event.reason);
    this.#become({ state: "connecting" });
  }

  /** Closes until `connect`: waiting publishes reject, rooms keep their position. */
  close() {
    if (this.#state !== "closed") this.#lost(1000, "");
  }

  /**
   * Joins a room now and after each reconnection. The same room twice is the same object.
   * @param {string} name
   * @param {{history?: number, recover?: boolean}} [options] `history`: how many kept messages to
   *   get at first. `recover: false`: messages as they come, for rooms that drop some on purpose.
   * @returns {Room}
   */
  join(name, options = {}) {
    const known = this.#rooms.get(name);
    if (known) return known;
    if (this.#rooms.size >= LIMITS.ROOMS) throw new FanfareError("queue_full", "too many rooms");
    const room = new Room(this, name, options);
    this.#rooms.set(name, room);
    if (this.#state === "open") room._join();
    return room;
  }

  /**
   * Sends to every connection of a user, on any node.
   * @param {string} to @param {any} data @param {{event?: string}} [options]
   * @returns {Promise<{delivered: boolean}>}
   */
  send(to, data, { event } = {}) {
    return this._request({ type: "send", to, event, data });
  }

  /** @package @param {object} command @returns {Promise<any>} the reply */
  _request(command) {
    return new Promise((resolve, reject) => {
      if (this.#state !== "open") return reject(new FanfareError("offline", "not connected", true));
      if (this.#pending.size >= LIMITS.COMMANDS) return reject(new FanfareError("queue_full"));
      this._command(JSON.stringify(command), (error, reply) => {
        if (error) reject(error);
        else resolve(reply);
      });
    });
  }

  /**
   * Sends a command, given as JSON without its id.
   * @package @param {string} body @param {Done} done @param {number} [wait]
   */
  _command(body, done, wait = LIMITS.COMMAND) {
    // A listener may have closed the client in the middle of what led here.
    if (!this.#socket) return done(new FanfareError("disconnected", "not connected", true));
    const id = ++this.#lastId;
    const text = `{"id":${id},${body.slice(1)}`;
    const most = this.#welcome?.max_message ?? Infinity;
    if (text.length * 3 > most && new TextEncoder().encode(text).length > most) {
      return done(new FanfareError("too_large", `more than ${most} bytes`));
    }
    const late = new FanfareError("timeout", "no reply", true);
    const timer = setTimeout(() => this.#answer(id, late), wait);
    this.#pending.set(id, { done, timer });
    this.#socket.send(text);
  }

  /** @param {number} id @param {FanfareError | null} error @param {any} [reply] */
  #answer(id, error, reply) {
    const command = this.#pending.get(id);
    if (!command) return;
    this.#pending.delete(id);
    clearTimeout(command.timer);
    command.done(error, reply);
  }

  /** @param {any} text */
  #receive(text) {
    this.#received += 1;
    this.#heardAt = Date.now();
    let event;
    try {
      event = Object(JSON.parse(text));
    } catch {
      return this._emit("error", new FanfareError("bad_request", "the server sent no JSON"));
    }
    const room = this.#rooms.get(event.room);
    switch (event.type) {
      case "welcome": return this.#welcomed(event);
      case "message": return event.direct ? this._emit("direct", event) : room?._take(event);
      case "member": return room?._emit("member", event);
      case "reset": return room?._reset(event);
      case "error": {
        const error = new FanfareError(event.code, event.message, event.retry === true);
        return event.id ? this.#answer(event.id, error) : this._emit("error", error);
      }
      default: if (event.id) this.#answer(event.id, null, event);
    }
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    this.#welcome = welcome;
    this._emit("welcome", welcome);
    if (this.#options.token === undefined) this.#opened();
    else this.#authenticate();
  }

  #opened() {
    if (this.#state !== "connecting") return;
    this.#stop("connect");
    this.#openedAt = Date.now();
    this.#listen(this.#heartbeat);
    for (const room of this.#rooms.values()) room._join();
    this.#become({ state: "open" });
  }

  async #authenticate() {
    const socket = this.#socket;
    const { token } = this.#options;
    let credential;
    try {
      credential = await (typeof token === "function" ? token() : token);
    } catch (error) {
      // No token to be had now: come back for one, unless the old one still serves.
      if (socket === this.#socket && this.#state === "connecting") this.#lost(1006, String(error));
      return;
    }
    if (socket !== this.#socket) return;
    this._command(JSON.stringify({ type: "auth", token: credential }), (error, reply) => {
      if (error?.code === "disconnected") return;
      if (error) return this.#lost(error.retry ? 1006 : 4001, error.message);
      if (this.#welcome) this.#welcome = { ...this.#welcome, user: reply.user };
      if (typeof token === "function" && reply.expires) {
        const left = Math.max(reply.expires * 1000 - Date.now(), 1_000) * 0.8;
        this.#after("renew", Math.min(left, LIMITS.RENEW_CAP), () => this.#authenticate());
      }
      this.#opened();
    });
  }

  get #heartbeat() { return (this.#welcome?.heartbeat || LIMITS.HEARTBEAT_SECONDS) * 1000; }

  /** Waits for silence: a page cannot see ping frames, so it pings too. @param {number} wait */
  #listen(wait) {
    this.#after("alive", wait, () => {
      const quiet = Date.now() - this.#heardAt;
      if (quiet < this.#heartbeat) this.#listen(this.#heartbeat - quiet);
      else this.#probe(this.#heartbeat / 2);
    });
  }

  /** @param {number} patience */
  #probe(patience) {
    this.#stop("alive");
    const before = this.#received;
    this._command('{"type":"ping"}', () => {
      if (this.#state !== "open") return;
      if (this.#received > before) this.#listen(this.#heartbeat);
      else this.#lost(4011, "the server fell silent");
    }, patience);
  }

  /** The end of a connection, whoever ended it. @param {number} code @param {string} reason */
  #lost(code, reason) {
    const rule = CLOSE_CODES[code] ?? { name: `code ${code}`, reconnect: "soon" };
    const { text, retryMs } = readReason(reason);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      // A dead peer can hold the closing handshake for long: nobody waits for it.
      socket.onmessage = socket.onclose = null;
      socket.onerror = () => {};
      try { socket.close(1000); } catch { /* it was never open */ }
    }
    for (const purpose of Object.keys(this.#timers)) this.#stop(purpose);
    if (this.#state === "open" && Date.now() - this.#openedAt >= LIMITS.STABLE) this.#attempts = 0;

    /** @type {StateChange} */
    const change = { state: "closed", code, reason: text || rule.name };
    if (rule.reconnect !== "never") {
      const least = rule.reconnect === "later" ? LIMITS.BACKOFF_LATER : 0;
      this.#attempts = Math.max(this.#attempts, least) + 1;
      const delay = retryMs + this._backoff(this.#attempts - 1);
      this.#notBefore = Date.now() + retryMs;
      this.#after("reconnect", delay, () => this.connect());
      change.state = "waiting";
      change.retryAt = Date.now() + delay;
    }
    this.#state = change.state;
    const failure = new FanfareError("disconnected", `lost: ${change.reason}`, !rule.poison);
    for (const id of [...this.#pending.keys()]) this.#answer(id, failure);
    for (const room of this.#rooms.values()) room._lost();
    if (change.state === "closed") {
      this.#watchPage(false);
      const closed = new FanfareError("closed", change.reason);
      for (const publish of this.#publishes) publish.settle(closed);
    }
    this._emit("state", change);
  }

  /** @param {StateChange} change */
  #become(change) {
    this.#state = change.state;
    this._emit("state", change);
  }

  /** A random wait that may double with each attempt. @package @param {number} attempt */
  _backoff(attempt) {
    const random = this.#options.random ?? Math.random;
    return random() * Math.min(LIMITS.BACKOFF_CAP, LIMITS.BACKOFF_BASE * 2 ** attempt);
  }

  /** @param {string} purpose @param {number} wait @param {() => void} action */
  #after(purpose, wait, action) {
    clearTimeout(this.#timers[purpose]);
    this.#timers[purpose] = setTimeout(() => {
      delete this.#timers[purpose];
      action();
    }, wait);
  }

  /** @param {string} purpose */
  #stop(purpose) {
    clearTimeout(this.#timers[purpose]);
    delete this.#timers[purpose];
  }

  /** @param {boolean} on */
  #watchPage(on) {
    const verb = on ? "addEventListener" : "removeEventListener";
    globalThis[verb]?.("online", this.#wake);
    globalThis.document?.[verb]("visibilitychange", this.#wake);
  }

  /** The page is looked at again or the network is back: a time to check, not to wait. */
  #wake = () => {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.#state === "open") this.#probe(Math.min(LIMITS.WAKE, this.#heartbeat / 2));
    else if (this.#state === "waiting" && Date.now() >= this.#notBefore) this.connect();
  };

  /** @package @param {Room} room @param {string} body @returns {Promise<Position>} */
  _publish(room, body) {
    return new Promise((resolve, reject) => {
      if (this.#state === "closed") return reject(new FanfareError("closed"));
      if (this.#publishes.size >= LIMITS.PUBLISHES) {
        return reject(new FanfareError("queue_full", `${LIMITS.PUBLISHES} messages wait already`));
      }
      /** @type {Publish} */
      const publish = { room, body, sent: false, settle: (error, reply) => {
        this.#publishes.delete(publish);
        clearTimeout(publish.expiry);
        if (error) reject(error);
        else resolve({ epoch: reply.epoch, offset: reply.offset });
      } };
      this.#publishes.add(publish);
      this._flush();
    });
  }

  /** Sends every publish whose room is joined, in the order of the calls. @package */
  _flush() {
    if (this.#state !== "open" || this.#timers.retry) return;
    for (const publish of this.#publishes) {
      if (publish.sent || !publish.room.joined) continue;
      publish.sent = true;
      publish.expiry ??= setTimeout(() => {
        const unknown = new FanfareError("timeout", "no answer: it may have been accepted or not");
        publish.settle(publish.cause ?? unknown);
      }, LIMITS.RESEND);
      this._command(publish.body, (error, reply) => this.#published(publish, error, reply));
    }
  }

  /** @param {Publish} publish @param {FanfareError | null} error @param {any} reply */
  #published(publish, error, reply) {
    if (!this.#publishes.has(publish)) return;
    if (!error || !error.retry) {
      if (!error) this.#retries = 0;
      return publish.settle(error, reply);
    }
    publish.sent = false;
    if (error.code === "disconnected") return;
    publish.cause = error;
    // One pause for all of them, so that a refused one is not overtaken by the next.
    if (this.#timers.retry) return;
    this.#after("retry", this._backoff(this.#retries++), () => this._flush());
  }

  /**
   * Ends a room's membership here: publishes that were not sent fail.
   * @package @param {Room} room @param {FanfareError} error
   */
  _forget(room, error) {
    if (this.#rooms.get(room.name) === room) this.#rooms.delete(room.name);
    for (const publish of this.#publishes) {
      if (publish.room === room && !publish.sent) publish.settle(error);
    }
  }
}

/**
 * A room joined through `Fanfare.join`.
 * Events: `message` (Message; `replayed` when it comes from the log), `joined` ({epoch, offset,
 * recovered}), `member` ({action: "join" or "leave", client, user, info}; of a large room {action:
 * "count", count, users, joined, left}), `reset` ({reason}: messages may be missing),
 * `error` (FanfareError: the room could not be joined and is given up).
 */
export class Room extends Emitter {
  #client;
  #history;
  #recover;
  #joining = false;
  /** Was a member before, so that a later join may have missed something. */
  #entered = false;
  /** Why the membership ended for good. @type {FanfareError | null} */
  #ended = null;
  /** The highest offset set aside while joining. */
  #ahead = 0;
  #attempts = 0;
  /** @type {any} */ #timer;

  /**
   * @package @param {Fanfare} client @param {string} name
   * @param {{history?: number, recover?: boolean}} options
   */
  constructor(client, name, { history = 0, recover = true }) {
    super();
    this.#client = client;
    this.#history = history;
    this.#recover = recover;
    this.name = name;
    this.joined = false;
    /** Of the last message; null before the first join or without a log. @type {Position | null} */
    this.position = null;
  }

  /**
   * Publishes to the room. Offline it waits; the promise settles when the server answered.
   * @param {any} data any JSON value
   * @param {{event?: string, key?: string}} [options] a `key` used again is accepted once
   * @returns {Promise<Position>}
   */
  publish(data, { event, key = randomKey() } = {}) {
    if (this.#ended) return Promise.reject(this.#ended);
    try {
      const command = { type: "publish", room: this.name, event, key, data: data ?? null };
      return this.#client._publish(this, JSON.stringify(command));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Who is here: a page of members, and how many connections and users there are in all. `limit: 0`
   * asks for the numbers alone; the page after one is had with its `next` as `after`.
   * @param {{limit?: number, after?: string}} [options]
   * @returns {Promise<{count: number, users: number, members: Member[], next?: string}>}
   */
  presence({ limit, after } = {}) {
    return this.#client._request({ type: "presence", room: this.name, limit, after });
  }

  /**
   * Everyone who is here, asked for page by page: whoever stays meanwhile comes exactly once.
   * @param {{limit?: number}} [options] how many a page has
   * @returns {AsyncGenerator<Member>}
   */
  async *members({ limit } = {}) {
    let after;
    do {
      const page = await this.presence({ limit, after });
      yield* page.members;
      after = page.next;
    } while (after);
  }

  /** Leaves the room, for good. */
  async leave() {
    if (this.#ended) return;
    const member = this.joined || this.#joining;
    this.#end(new FanfareError("left", "the room was left"));
    if (member) await this.#client._request({ type: "leave", room: this.name }).catch(() => {});
  }

  /** @package @param {boolean} [refill] ask for the latest messages, not for those missed */
  _join(refill = false) {
    if (this.#joining || this.#ended) return;
    this.#joining = true;
    clearTimeout(this.#timer);
    const since = this.#recover && !refill && this.position ? this.position : undefined;
    const history = !since && this.#history ? this.#history : undefined;
    const command = JSON.stringify({ type: "join", room: this.name, since, history });
    this.#client._command(command, (error, reply) => {
      this.#joining = false;
      if (this.#ended) return;
      if (error) this.#refused(error);
      else this.#accepted(reply, since !== undefined, refill);
    });
  }

  /** @param {FanfareError} error */
  #refused(error) {
    if (error.code === "disconnected") return;
    if (error.retry) {
      this.#timer = setTimeout(() => this._join(), this.#client._backoff(this.#attempts++));
    } else {
      this.#end(error);
      this._emit("error", error);
    }
  }

  /** @param {any} reply @param {boolean} asked with `since` @param {boolean} refill */
  #accepted(reply, asked, refill) {
    const { epoch, offset, messages = [] } = reply;
    const recovered = asked ? reply.recovered === true : !this.#entered;
    const told = refill || recovered || !this.#recover;
    if (!told) this._emit("reset", { reason: "the server no longer has all messages since" });
    this.#attempts = 0;
    this.#entered = this.joined = true;
    if (asked && !recovered && this.#history && !messages.length) {
      this._join(true);
    } else {
      const seen = this.position?.epoch === epoch ? this.position?.offset ?? 0 : 0;
      this.position = epoch === undefined ? null : { epoch, offset };
      this._emit("joined", { epoch, offset, recovered });
      for (const message of messages) {
        if (message.offset <= seen) continue;
        this._emit("message", { ...message, room: this.name, replayed: true });
      }
      const behind = this.#recover && this.position && this.#ahead > this.position.offset;
      this.#ahead = 0;
      if (behind) this._join();
    }
    this.#client._flush();
  }

  /** @package @param {Message} message */
  _take(message) {
    // A message names its epoch where the log has gone on in a new one.
    const { offset, epoch = this.position?.epoch } = message;
    if (offset === undefined || !this.#recover) return this._emit("message", message);
    if (this.position && offset <= this.position.offset) return;
    if (this.position && offset === this.position.offset + 1) {
      this.position = { epoch, offset };
      return this._emit("message", message);
    }
    if (!this.position && !this.#joining) return this._emit("message", message);
    // A gap, or nothing to compare with yet: the reply to a join covers it.
    this.#ahead = Math.max(this.#ahead, offset);
    this._join();
  }

  /**
   * The room's log was lost and begins anew.
   * @package @param {{epoch?: string, offset?: number, reason?: string}} event
   */
  _reset({ epoch, offset, reason }) {
    this._emit("reset", { reason: reason ?? "the room's log was lost" });
    this.position = epoch !== undefined && offset !== undefined ? { epoch, offset } : null;
    this.#ahead = 0;
    if (!this.position) this._join(true);
  }

  /** @package */
  _lost() {
    this.joined = this.#joining = false;
    this.#ahead = 0;
    clearTimeout(this.#timer);
  }

  /** @param {FanfareError} error */
  #end(error) {
    this.#ended = error;
    this._lost();
    this.#client._forget(this, error);
  }
}

/** `/ws` beside `/client.js`: a page of another host may import this module and reach its node. */
function besideThisModule() {
  const url = new URL("ws", import.meta.url);
  if (!url.protocol.startsWith("http")) throw new TypeError("new Fanfare(url) needs a url here");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

/** A close reason is text, or JSON with `retry_ms` and perhaps `reason`. @param {string} reason */
function readReason(reason) {
  try {
    const { retry_ms = 0, reason: text = "" } = JSON.parse(reason);
    const hint = Number.isFinite(retry_ms) ? Math.max(retry_ms, 0) : 0;
    return { text: String(text), retryMs: Math.min(hint, LIMITS.RETRY_HINT_CAP) };
  } catch {
    return { text: reason ?? "", retryMs: 0 };
  }
}

/** 96 random bits; `crypto.randomUUID` would need a secure context. */
function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
