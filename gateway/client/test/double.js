/** A double for the server's side of one socket, and what tests of the client begin with. */

import assert from "node:assert/strict";
import { mock } from "node:test";
import { Fanfare, LIMITS } from "../client.js";

export class FakeSocket {
  /** @type {FakeSocket[]} */
  static all = [];
  static get last() { return FakeSocket.all.at(-1); }

  constructor(url, protocol) {
    Object.assign(this, { url, protocol, sent: [], closed: false });
    FakeSocket.all.push(this);
  }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.closed = true; }

  push(event) { this.onmessage?.({ data: JSON.stringify(event) }); }
  welcome(fields) {
    const client = `c${FakeSocket.all.length}`;
    this.push({ type: "welcome", client, node: "n1", heartbeat: 20, ...fields });
  }
  /** The latest command of a type, and all of them. */
  command(type) { return this.commands(type).at(-1); }
  commands(type) { return this.sent.filter((command) => command.type === type); }
  reply(type, { id, room }, fields) { this.push({ type, id, room, ...fields }); }
  refuse(command, code, retry) { this.reply("error", command, { code, message: code, retry }); }
  joined(fields) {
    const usual = { epoch: "x", offset: 0, recovered: true, messages: [] };
    this.reply("joined", this.command("join"), { ...usual, ...fields });
  }
  message(offset, fields) {
    const usual = { data: `m${offset}`, from: { client: "c9" } };
    this.push({ type: "message", room: "lobby", offset, ...usual, ...fields });
  }
  drop(code = 1006, reason = "") { this.onclose?.({ code, reason }); }
}

/** Lets promise callbacks run. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export const start = (options) =>
  new Fanfare("ws://node/ws", { WebSocket: FakeSocket, random: () => 1, ...options });

/** A client that is open and in the lobby at offset 2. */
export function inLobby(options, joinOptions) {
  const client = start(options);
  const room = client.join("lobby", joinOptions);
  FakeSocket.last.welcome();
  FakeSocket.last.joined({ offset: 2 });
  return { client, room, socket: FakeSocket.last };
}

/** The same, and all that its room hears. */
export function hearLobby(options, joinOptions) {
  const { client, room, socket } = inLobby(options, joinOptions);
  const heard = [];
  room.on("message", (message) => heard.push(message.data));
  room.on("reset", () => heard.push("RESET"));
  room.on("error", (error) => heard.push(error.code));
  return { client, room, heard, socket };
}

/** The log's messages of these offsets. */
export const kept = (from, to) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)
    .map((offset) => ({ type: "message", data: `m${offset}`, offset }));

/** Lets the wait for the next attempt pass and opens that connection. */
export function reconnect(client) {
  const before = FakeSocket.all.length;
  mock.timers.tick(LIMITS.BACKOFF_CAP);
  assert.equal(FakeSocket.all.length, before + 1, "one new connection");
  FakeSocket.last.welcome();
  assert.equal(client.state, "open");
  return FakeSocket.last;
}

/** For `beforeEach`: no sockets, and a clock that the test moves. */
export function freshClock() {
  FakeSocket.all = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
}

/** What `console.error` is told while `work` runs. */
export async function complaints(work) {
  const told = mock.method(console, "error", () => {});
  try {
    await work();
    await settle();
    return told.mock.calls.map(({ arguments: [error] }) => error);
  } finally {
    told.mock.restore();
  }
}
