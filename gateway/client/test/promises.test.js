/** What the client promises, with a double for the WebSocket and a clock that tests move. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, mock, test } from "node:test";
import { CLOSE_CODES, Fanfare, LIMITS } from "../client.js";

/** The server's side of one socket: `sent` holds what the client wrote. */
class FakeSocket {
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
  /** The latest command of a type. */
  command(type) { return this.sent.findLast((command) => command.type === type); }
  reply(type, { id, room }, fields) { this.push({ type, id, room, ...fields }); }
  refuse(command, code, retry) { this.reply("error", command, { code, message: code, retry }); }
  joined(fields) {
    const usual = { epoch: "x", offset: 0, recovered: true, messages: [] };
    this.reply("joined", this.command("join"), { ...usual, ...fields });
  }
  message(offset, data = `m${offset}`) {
    this.push({ type: "message", room: "lobby", data, offset, from: { client: "c9" } });
  }
  drop(code = 1006, reason = "") { this.onclose?.({ code, reason }); }
}

/** The log's messages of these offsets. */
const kept = (from, to) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)
    .map((offset) => ({ type: "message", data: `m${offset}`, offset }));

/** Lets promise callbacks run. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

const start = (options) =>
  new Fanfare("ws://node/ws", { WebSocket: FakeSocket, random: () => 1, ...options });

/** A client that is open, in the lobby at offset 2, and all that happens to it. */
function inLobby(options, joinOptions) {
  const client = start(options);
  const room = client.join("lobby", joinOptions);
  const heard = [];
  room.on("message", (message) => heard.push(message.data));
  room.on("reset", () => heard.push("RESET"));
  room.on("error", (error) => heard.push(error.code));
  FakeSocket.last.welcome();
  FakeSocket.last.joined({ offset: 2 });
  return { client, room, heard, socket: FakeSocket.last };
}

/** Lets the wait for the next attempt pass and opens that connection. */
function reconnect(client) {
  const before = FakeSocket.all.length;
  mock.timers.tick(LIMITS.BACKOFF_CAP);
  assert.equal(FakeSocket.all.length, before + 1, "one new connection");
  FakeSocket.last.welcome();
  assert.equal(client.state, "open");
  return FakeSocket.last;
}

beforeEach(() => {
  FakeSocket.all = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

test("joins with history and hears messages in order and once", () => {
  const client = start();
  const room = client.join("lobby", { history: 50 });
  const heard = [];
  room.on("message", ({ data, replayed }) => heard.push([data, replayed]));
  const socket = FakeSocket.last;
  assert.equal(socket.protocol, "fanfare.v1.json");
  assert.equal(client.state, "connecting");
  socket.welcome();
  assert.deepEqual([client.state, client.id, client.node], ["open", "c1", "n1"]);
  assert.equal(socket.command("join").history, 50);
  assert.equal(socket.command("join").since, undefined);
  socket.joined({ offset: 2, messages: kept(1, 2) });
  socket.message(2);
  socket.message(3);
  socket.message(3);
  assert.deepEqual(heard, [["m1", true], ["m2", true], ["m3", undefined]]);
  assert.deepEqual(room.position, { epoch: "x", offset: 3 });
  assert.equal(client.join("lobby"), room);
  assert.equal(socket.sent.length, 1, "a repeated message is no gap");
  client.join("den");
  assert.equal(socket.command("join").room, "den");
});

test("rejoins from its position after a lost connection, and says nothing is missing", () => {
  const { client, heard, socket } = inLobby({}, { history: 50 });
  socket.message(3);
  socket.drop();
  assert.equal(client.state, "waiting");
  const next = reconnect(client);
  assert.deepEqual(next.command("join").since, { epoch: "x", offset: 3 });
  assert.equal(next.command("join").history, undefined, "since and history exclude each other");
  next.joined({ offset: 5, messages: kept(3, 5) });
  next.message(5);
  next.message(6);
  assert.deepEqual(heard, ["m3", "m4", "m5", "m6"]);
});

test("a gap is healed by a join from the last position, and by one only", () => {
  const { heard, socket } = inLobby();
  socket.message(3);
  socket.message(6);
  socket.message(7);
  const joins = socket.sent.filter(({ type }) => type === "join");
  assert.equal(joins.length, 2);
  assert.deepEqual(joins[1].since, { epoch: "x", offset: 3 });
  assert.deepEqual(heard, ["m3"]);
  socket.joined({ offset: 6, messages: kept(4, 6) });
  assert.deepEqual(heard, ["m3", "m4", "m5", "m6"]);
  const { since } = socket.command("join");
  assert.deepEqual(since, { epoch: "x", offset: 6 }, "7 was heard but not replayed");
  socket.joined({ offset: 7, messages: kept(7, 7) });
  assert.equal(heard.at(-1), "m7");
  assert.equal(socket.sent.filter(({ type }) => type === "join").length, 3);
});

test("an unprovable recovery raises reset, then fills in the latest messages", () => {
  const { client, heard, socket } = inLobby({}, { history: 2 });
  socket.drop();
  const next = reconnect(client);
  next.joined({ offset: 90, recovered: false });
  assert.deepEqual(heard, ["RESET"]);
  assert.equal(next.command("join").history, 2);
  assert.equal(next.command("join").since, undefined);
  next.joined({ offset: 91, messages: kept(90, 91) });
  next.message(92);
  assert.deepEqual(heard, ["RESET", "m90", "m91", "m92"]);
});

test("offsets of another epoch are not compared", () => {
  const { client, heard, socket } = inLobby();
  socket.drop();
  reconnect(client).joined({ epoch: "y", offset: 1, recovered: false, messages: kept(1, 1) });
  assert.deepEqual(heard, ["RESET", "m1"]);
});

test("a message that names a new epoch goes on in it", () => {
  const { heard, room, socket } = inLobby();
  socket.message(3);
  socket.push({ type: "message", room: "lobby", data: "m4", epoch: "y", offset: 4 });
  assert.deepEqual(heard, ["m3", "m4"]);
  assert.deepEqual(room.position, { epoch: "y", offset: 4 });
});

test("a reset push adopts the new position", () => {
  const { heard, room, socket } = inLobby();
  socket.message(7);
  socket.push({ type: "reset", room: "lobby", epoch: "y", offset: 0 });
  socket.joined({ epoch: "y", offset: 0 });
  socket.message(1);
  assert.deepEqual(heard, ["RESET", "m1"]);
  assert.deepEqual(room.position, { epoch: "y", offset: 1 });
  assert.equal(socket.sent.filter(({ type }) => type === "join").length, 2);
});

test("a reset push without a position joins again", () => {
  const { heard, socket } = inLobby({}, { history: 5 });
  socket.push({ type: "reset", room: "lobby" });
  assert.equal(socket.command("join").history, 5);
  socket.joined({ epoch: "y", offset: 1, messages: kept(1, 1) });
  assert.deepEqual(heard, ["RESET", "m1"], "told once");
});

test("a room without a log cannot prove anything after a reconnection", () => {
  const client = start();
  const room = client.join("lobby");
  const heard = [];
  room.on("message", ({ data }) => heard.push(data));
  room.on("reset", () => heard.push("RESET"));
  FakeSocket.last.welcome();
  FakeSocket.last.joined({ epoch: undefined, offset: undefined });
  FakeSocket.last.message(undefined, "a");
  FakeSocket.last.drop();
  reconnect(client).joined({ epoch: undefined, offset: undefined });
  FakeSocket.last.message(undefined, "b");
  FakeSocket.last.message(7, "c");
  assert.deepEqual(heard, ["a", "RESET", "b", "c"]);
});

test("a room that drops on purpose is taken as it comes", () => {
  const { client, heard, socket } = inLobby({}, { recover: false });
  socket.message(3);
  socket.message(9);
  assert.deepEqual(heard, ["m3", "m9"]);
  assert.equal(socket.sent.length, 1);
  socket.drop();
  const next = reconnect(client);
  assert.equal(next.command("join").since, undefined);
  next.joined({ offset: 12 });
  assert.deepEqual(heard, ["m3", "m9"]);
});

test("backs off with full jitter up to the cap and starts anew after a stable while", () => {
  const client = start();
  const waits = [];
  client.on("state", ({ retryAt }) => retryAt && waits.push(retryAt - Date.now()));
  for (let attempt = 0; attempt < 8; attempt++) {
    FakeSocket.last.drop();
    mock.timers.tick(LIMITS.BACKOFF_CAP);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);

  FakeSocket.last.welcome();
  mock.timers.tick(LIMITS.STABLE - 1);
  FakeSocket.last.drop();
  assert.equal(waits.at(-1), 30000, "not yet stable");
  reconnect(client);
  mock.timers.tick(LIMITS.STABLE);
  FakeSocket.last.drop();
  assert.equal(waits.at(-1), 500);
});

test("the wait is random over the whole range", () => {
  for (const [random, wait] of [[0, 0], [0.25, 125]]) {
    const client = start({ random: () => random });
    let retryAt;
    client.on("state", (change) => { retryAt = change.retryAt; });
    FakeSocket.last.drop();
    assert.equal(retryAt - Date.now(), wait);
    client.close();
  }
});

test("honours retry_ms of the close reason, with jitter on top and a cap", () => {
  const client = start({ random: () => 0.5 });
  let retryAt;
  client.on("state", (change) => { retryAt = change.retryAt; });
  FakeSocket.last.welcome();
  FakeSocket.last.drop(1012, '{"retry_ms":4000}');
  assert.equal(retryAt - Date.now(), 4250);
  reconnect(client);
  FakeSocket.last.drop(1012, '{"retry_ms":1e12}');
  assert.equal(retryAt - Date.now(), LIMITS.RETRY_HINT_CAP + 500);
});

for (const [code, { name, reconnect: when }] of Object.entries(CLOSE_CODES)) {
  test(`close code ${code} (${name}) reconnects: ${when}`, () => {
    const client = start();
    const changes = [];
    client.on("state", (change) => changes.push(change));
    FakeSocket.last.welcome();
    FakeSocket.last.drop(Number(code), "");
    const { state, reason, retryAt } = changes.at(-1);
    assert.equal(reason, name);
    assert.equal(state, when === "never" ? "closed" : "waiting");
    if (when === "soon") assert.equal(retryAt - Date.now(), 500);
    if (when === "later") assert.equal(retryAt - Date.now(), 16_000);
    mock.timers.tick(60_000);
    assert.equal(FakeSocket.all.length > 1, when !== "never");
    client.close();
  });
}

test("only the codes of the table end it", () => {
  const never = Object.keys(CLOSE_CODES).filter((code) => CLOSE_CODES[code].reconnect === "never");
  assert.deepEqual(never, ["1000", "4001", "4003", "4009"]);
});

test("publishes with a key and resolves with the position", async () => {
  const { room, socket } = inLobby();
  const done = room.publish({ text: "hi" }, { event: "chat" });
  const command = socket.command("publish");
  assert.deepEqual(command.data, { text: "hi" });
  assert.equal(command.event, "chat");
  assert.match(command.key, /^[0-9a-f]{24}$/);
  room.publish("next");
  assert.equal(socket.sent.filter(({ type }) => type === "publish").length, 2, "each once");
  socket.reply("published", command, { epoch: "x", offset: 3 });
  assert.deepEqual(await done, { epoch: "x", offset: 3 });
});

test("publishes made offline go out in order once the room is joined, same keys", async () => {
  const { client, room, socket } = inLobby();
  const first = room.publish("one");
  const key = socket.command("publish").key;
  socket.drop();
  room.publish("two");
  const next = reconnect(client);
  assert.equal(next.command("publish"), undefined, "not before the room is joined");
  next.joined({ offset: 2 });
  const sent = next.sent.filter(({ type }) => type === "publish");
  assert.deepEqual(sent.map(({ data }) => data), ["one", "two"]);
  assert.equal(sent[0].key, key);
  assert.notEqual(sent[1].key, key);
  next.reply("published", sent[0], { epoch: "x", offset: 3 });
  assert.equal((await first).offset, 3);
});

test("the queue of publishes is bounded and says so", async () => {
  const { room, socket } = inLobby();
  socket.drop();
  for (let n = 0; n < LIMITS.PUBLISHES; n++) room.publish(n).catch(() => {});
  await assert.rejects(room.publish("one too many"), { code: "queue_full" });
});

test("a refusal that may pass is retried with backoff and holds back what follows", async () => {
  const { room, socket } = inLobby();
  const first = room.publish("one");
  const command = socket.command("publish");
  socket.refuse(command, "unavailable", true);
  room.publish("two");
  assert.equal(socket.command("publish"), command, "both wait");
  mock.timers.tick(LIMITS.BACKOFF_BASE);
  const sent = socket.sent.filter(({ type }) => type === "publish").slice(1);
  assert.deepEqual(sent.map(({ data }) => data), ["one", "two"]);
  assert.equal(sent[0].key, command.key);
  socket.reply("published", sent[0], { epoch: "x", offset: 3 });
  assert.equal((await first).offset, 3);
});

test("a refusal for good rejects", async () => {
  const { room, socket } = inLobby();
  const done = room.publish("one");
  socket.refuse(socket.command("publish"), "forbidden", false);
  await assert.rejects(done, { name: "FanfareError", code: "forbidden", retry: false });
});

test("a publish without an answer is repeated with its key, for a bounded time", async () => {
  const { room, socket } = inLobby({ random: () => 0.001 });
  const done = assert.rejects(room.publish("one"), { code: "timeout" });
  for (let second = 0; second < LIMITS.RESEND / 1000; second++) {
    mock.timers.tick(1000);
    socket.push({ type: "pong" });
  }
  await done;
  const keys = socket.sent.filter(({ type }) => type === "publish").map(({ key }) => key);
  assert.ok(keys.length >= 5, `${keys.length} attempts`);
  assert.equal(new Set(keys).size, 1);
});

test("a publish larger than the server takes is refused here", async () => {
  const client = start();
  const room = client.join("lobby");
  FakeSocket.last.welcome({ max_message: 200 });
  FakeSocket.last.joined();
  await assert.rejects(room.publish("ü".repeat(100)), { code: "too_large" });
  assert.equal(FakeSocket.last.command("publish"), undefined);
});

test("what may have caused a protocol close is not sent again", async () => {
  const { client, room, socket } = inLobby();
  const done = assert.rejects(room.publish("bad"), { code: "disconnected", retry: false });
  socket.drop(1009);
  await done;
  const next = reconnect(client);
  next.joined({ offset: 2 });
  assert.equal(next.command("publish"), undefined);
});

test("close rejects what waits and does not come back", async () => {
  const { client, room, socket } = inLobby();
  socket.drop();
  const done = assert.rejects(room.publish("one"), { code: "closed" });
  client.close();
  await done;
  await assert.rejects(room.publish("two"), { code: "closed" });
  mock.timers.tick(120_000);
  assert.equal(FakeSocket.all.length, 1);
  client.connect();
  FakeSocket.last.welcome();
  assert.deepEqual(FakeSocket.last.command("join").since, { epoch: "x", offset: 2 });
});

for (const moment of ["welcome", "state", "joined", "message"]) {
  test(`a listener may close the client on ${moment}`, () => {
    const client = start({ token: moment === "welcome" ? "t" : undefined });
    const room = client.join("lobby");
    (moment === "welcome" || moment === "state" ? client : room).on(moment, () => client.close());
    FakeSocket.last.welcome();
    if (client.state === "open") {
      FakeSocket.last.message(9);
      FakeSocket.last.joined({ offset: 2, messages: kept(1, 2) });
    }
    assert.equal(client.state, "closed");
    assert.equal(room.joined, false);
  });
}

test("a join that may pass is retried, one refused for good gives the room up", async () => {
  const client = start();
  const room = client.join("secret");
  const errors = [];
  room.on("error", (error) => errors.push(error.code));
  const waiting = assert.rejects(room.publish("hi"), { code: "forbidden" });
  FakeSocket.last.welcome();
  const socket = FakeSocket.last;
  socket.refuse(socket.command("join"), "unavailable", true);
  mock.timers.tick(LIMITS.BACKOFF_BASE);
  assert.equal(socket.sent.length, 2);
  socket.refuse(socket.command("join"), "forbidden", false);
  assert.deepEqual(errors, ["forbidden"]);
  await waiting;
  await assert.rejects(room.publish("hi"), { code: "forbidden" });
  socket.drop();
  assert.equal(reconnect(client).command("join"), undefined);
});

test("leave tells the server and the room stays away", async () => {
  const { client, room, heard, socket } = inLobby();
  const left = room.leave();
  socket.reply("left", socket.command("leave"));
  await left;
  socket.message(3);
  assert.deepEqual(heard, []);
  socket.drop();
  assert.equal(reconnect(client).command("join"), undefined);
  assert.notEqual(client.join("lobby"), room);
});

test("silence is answered by a ping, and silence after it by a new connection", () => {
  const { client, socket } = inLobby();
  mock.timers.tick(15_000);
  socket.message(3);
  mock.timers.tick(15_000);
  assert.equal(socket.command("ping"), undefined, "20 s after the last message, not the first");
  mock.timers.tick(5_000);
  const ping = socket.command("ping");
  assert.ok(ping);
  socket.reply("pong", ping);
  mock.timers.tick(20_000);
  assert.notEqual(socket.command("ping"), ping);
  mock.timers.tick(9_999);
  assert.equal(client.state, "open");
  mock.timers.tick(1);
  assert.equal(client.state, "waiting");
  assert.ok(socket.closed);
  socket.message(4);
  assert.equal(client.join("lobby").position.offset, 3, "a socket given up is not heard");
  reconnect(client);
});

test("a socket that never welcomes is given up", () => {
  const client = start();
  mock.timers.tick(LIMITS.CONNECT);
  assert.equal(client.state, "waiting");
  assert.ok(FakeSocket.all[0].closed);
});

test("a command without a reply fails with timeout; offline it fails at once", async () => {
  const { room, socket } = inLobby();
  const asked = assert.rejects(room.presence(), { code: "timeout" });
  mock.timers.tick(LIMITS.COMMAND);
  await asked;
  const answered = room.presence();
  socket.reply("presence", socket.command("presence"), { count: 2, members: [] });
  assert.equal((await answered).count, 2);
  const lost = assert.rejects(room.presence(), { code: "disconnected" });
  socket.drop();
  await lost;
  await assert.rejects(room.presence(), { code: "offline" });
});

test("lists members page by page, and hears of their changes", async () => {
  const { room, socket } = inLobby();
  const heard = [];
  room.on("member", ({ action, client, count }) => heard.push([action, client ?? count]));
  const listed = (async () => {
    const clients = [];
    for await (const { client } of room.members({ limit: 2 })) clients.push(client);
    return clients;
  })();
  await settle();
  const first = socket.command("presence");
  assert.deepEqual([first.limit, first.after], [2, undefined]);
  const page = (...clients) => clients.map((client) => ({ client }));
  socket.reply("presence", first, { count: 3, users: 0, members: page("c1", "c2"), next: "c2" });
  await settle();
  const second = socket.command("presence");
  assert.deepEqual([second.limit, second.after], [2, "c2"]);
  socket.reply("presence", second, { count: 3, users: 0, members: page("c3") });
  assert.deepEqual(await listed, ["c1", "c2", "c3"]);
  socket.push({ type: "member", room: "lobby", action: "join", client: "c4" });
  socket.push({ type: "member", room: "den", action: "join", client: "c5" });
  socket.push({ type: "member", room: "lobby", action: "count", count: 120, joined: 9, left: 1 });
  assert.deepEqual(heard, [["join", "c4"], ["count", 120]]);
});

test("authenticates before it joins, renews in time, brings a fresh token after 4010", async () => {
  let asked = 0;
  const client = start({ token: async () => `t${++asked}` });
  client.join("lobby");
  FakeSocket.last.welcome();
  await settle();
  const socket = FakeSocket.last;
  assert.equal(client.state, "connecting");
  assert.deepEqual(socket.sent.map(({ type, token }) => [type, token]), [["auth", "t1"]]);
  const expires = Date.now() / 1000 + 100;
  socket.reply("authenticated", socket.command("auth"), { user: "ann", expires });
  assert.deepEqual([client.state, client.user], ["open", "ann"]);
  assert.ok(socket.command("join"));
  mock.timers.tick(80_000);
  await settle();
  assert.equal(socket.command("auth").token, "t2");
  socket.reply("authenticated", socket.command("auth"), { user: "ann" });
  socket.drop(4010);
  mock.timers.tick(500);
  FakeSocket.last.welcome();
  await settle();
  assert.equal(FakeSocket.last.command("auth").token, "t3");
});

test("a token that is refused ends it with 4001", async () => {
  const client = start({ token: "stale" });
  let last;
  client.on("state", (change) => { last = change; });
  FakeSocket.last.welcome();
  await settle();
  FakeSocket.last.refuse(FakeSocket.last.command("auth"), "unauthorized", false);
  assert.deepEqual([client.state, last.code, last.reason], ["closed", 4001, "unauthorized"]);
});

test("the network's return ends the wait, but not the one the server asked for", () => {
  const page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
  try {
    const client = start();
    FakeSocket.last.drop();
    page.dispatchEvent(new Event("online"));
    assert.equal(client.state, "connecting");
    FakeSocket.last.welcome();
    page.dispatchEvent(new Event("online"));
    assert.ok(FakeSocket.last.command("ping"), "an open one is checked");
    FakeSocket.last.drop(1012, '{"retry_ms":5000}');
    page.dispatchEvent(new Event("online"));
    assert.equal(client.state, "waiting");
    client.close();
    page.dispatchEvent(new Event("online"));
    assert.equal(client.state, "closed");
  } finally {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  }
});

test("errors of no command and direct messages reach the client, nonsense hurts nobody", () => {
  const { client, socket } = inLobby();
  const heard = [];
  client.on("error", ({ code }) => heard.push(code));
  client.on("direct", ({ data }) => heard.push(data));
  socket.push({ type: "error", code: "rate_limited", message: "", retry: true });
  socket.push({ type: "message", direct: true, data: "psst" });
  socket.onmessage({ data: "{" });
  socket.onmessage({ data: "null" });
  socket.push({ type: "from-the-future", id: 99 });
  socket.push({ type: "message", room: "elsewhere", data: 1, offset: 1 });
  assert.deepEqual(heard, ["rate_limited", "psst", "bad_request"]);
  assert.equal(client.state, "open");
});

test("the table of close codes is the protocol's", () => {
  const protocol = readFileSync(new URL("../../../shared/PROTOCOL.md", import.meta.url), "utf8");
  const rows = protocol.matchAll(/^\| (\d{4}) \| .* \| (never|soon|later) \|$/gm);
  const documented = Object.fromEntries([...rows].map(([, code, reconnect]) => [code, reconnect]));
  const known = Object.entries(CLOSE_CODES).map(([code, { reconnect }]) => [code, reconnect]);
  // 1006 is never sent: it is what a browser calls the lack of a close frame.
  assert.deepEqual({ ...documented, 1006: "soon" }, Object.fromEntries(known));
});
