// Fanfare's HTTP API for Node.js 18 and later: one file, no dependency.
import { createHmac, timingSafeEqual } from "node:crypto";

/** A call that was refused or failed: `code` is one of the protocol's, `retry` whether to try again. */
export class FanfareError extends Error {
  constructor(status, { code = "internal", message = `HTTP status ${status}`, retry = status >= 500 } = {}) {
    super(message);
    Object.assign(this, { name: "FanfareError", status, code, retry });
  }
}

/** One installation of Fanfare, by the internal port of any of its nodes. */
export class Fanfare {
  #url;
  #key;
  #timeout;

  /** `url`: such as `http://127.0.0.1:8081`; `key`: an API key; `timeout`: of each call, in milliseconds. */
  constructor({ url = "http://127.0.0.1:8081", key, timeout = 10_000 }) {
    if (!key) throw new TypeError("key: give the API key of the node's `api.key`");
    [this.#url, this.#key, this.#timeout] = [url.replace(/\/+$/, ""), key, timeout];
  }

  /**
   * Publishes into a room. Answers `{ epoch, offset }` once the message is in the room's log.
   * Options: `event`; `key`, by which a repetition is known; `except`, a client to leave out.
   * A Buffer or Uint8Array is sent as bytes, all else as JSON.
   */
  publish(room, data, options = {}) {
    return this.#call("POST", `/v1/rooms/${segment(room)}/messages`, message(data, options));
  }

  /** Publishes into up to 1000 rooms. Answers an outcome for each: `{ epoch, offset }` or `{ error }`. */
  async broadcast(rooms, data, options = {}) {
    return (await this.#call("POST", "/v1/messages", { rooms, ...message(data, options) })).results;
  }

  /** Sends to all connections of a user. Answers whether one of them has it. */
  async send(user, data, options = {}) {
    const path = `/v1/users/${segment(user)}/messages`;
    return (await this.#call("POST", path, message(data, options))).delivered;
  }

  /** What a room keeps: `{ epoch, offset, messages }`. Options: `since`, a position; `limit`. */
  history(room, { since, limit } = {}) {
    return this.#call("GET", `/v1/rooms/${segment(room)}/messages`, undefined, {
      since: since && `${since.epoch}:${since.offset}`,
      limit,
    });
  }

  /** Who is in a room, however many: goes from page to page. */
  async *presence(room) {
    for (let after; ; ) {
      const path = `/v1/rooms/${segment(room)}/members`;
      const page = await this.#call("GET", path, undefined, { after });
      yield* page.members;
      if (!page.next) return;
      after = page.next;
    }
  }

  /** Closes a user's connections, or one client's, or those of a room: `{ user }`, `{ client }` or `{ room }`. */
  disconnect(whom, reason) {
    const [[kind, name], more] = Object.entries(whom);
    if (more || !["user", "client", "room"].includes(kind)) {
      throw new TypeError("disconnect: give one of user, client and room");
    }
    const kinds = { user: "users", client: "connections", room: "rooms" };
    const rest = kind === "client" ? "" : "/connections";
    return this.#call("DELETE", `/v1/${kinds[kind]}/${segment(name)}${rest}`, undefined, { reason });
  }

  async #call(method, path, body, query = {}) {
    const url = new URL(this.#url + path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const response = await fetch(url, {
      method,
      headers: { authorization: `Bearer ${this.#key}`, ...(body && { "content-type": "application/json" }) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(this.#timeout),
    });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new FanfareError(response.status, answer.error);
    return answer;
  }
}

/** A name as a part of a path, where `.` and `..` would be read as steps. */
function segment(name) {
  if (/^\.{0,2}$/.test(name)) throw new TypeError(`"${name}" cannot stand in an address; take another name`);
  return encodeURIComponent(name);
}

function message(data, options) {
  const bytes = data instanceof Uint8Array;
  return { ...options, data: bytes ? Buffer.from(data).toString("base64") : data, ...(bytes && { binary: true }) };
}

/** Signs a token for a client, by HS256. `claims`: `sub`, `rooms`, `auto`, `info`; `ttl` in seconds. */
export function token(secret, claims, ttl = 3600) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iat: now, exp: now + ttl, ...claims })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/**
 * Answers the body of a webhook, parsed, if its signature holds, and throws otherwise.
 * `headers`: an object with names in lower case; `body`: as it came, a string or bytes.
 * `tolerance`: how old it may be, in seconds.
 */
export function verify(secret, headers, body, tolerance = 300) {
  const [id, time, given] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`] ?? "");
  if (!(Math.abs(Date.now() / 1000 - Number(time)) <= tolerance)) {
    throw new Error("webhook-timestamp: missing, or too far from now");
  }
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : secret;
  const right = createHmac("sha256", key).update(`${id}.${time}.`).update(body).digest();
  const holds = given.split(" ").some((one) => {
    const [version, code] = one.split(",");
    const bytes = Buffer.from(code ?? "", "base64");
    return version === "v1" && bytes.length === right.length && timingSafeEqual(bytes, right);
  });
  if (!holds) throw new Error("webhook-signature: none was made with this secret");
  return JSON.parse(body);
}
