/** When a connection is given up, when the next is tried, and what ends it for good. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, mock, test } from "node:test";
import { CLOSE_CODES, LIMITS } from "../client.js";
import { FakeSocket, freshClock, hearLobby, kept, reconnect, settle, start } from "./double.js";

beforeEach(freshClock);

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

test("the table of close codes is the protocol's", () => {
  const protocol = readFileSync(new URL("../../../shared/PROTOCOL.md", import.meta.url), "utf8");
  const rows = protocol.matchAll(/^\| (\d{4}) \| .* \| (never|soon|later) \|$/gm);
  const documented = Object.fromEntries([...rows].map(([, code, reconnect]) => [code, reconnect]));
  const known = Object.entries(CLOSE_CODES).map(([code, { reconnect }]) => [code, reconnect]);
  // 1006 is never sent: it is what a browser calls the lack of a close frame.
  assert.deepEqual({ ...documented, 1006: "soon" }, Object.fromEntries(known));
});

test("close rejects what waits and does not come back", async () => {
  const { client, room, socket } = hearLobby();
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

test("silence is answered by a ping, and silence after it by a new connection", () => {
  const { client, socket } = hearLobby();
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

test("brings a token with the handshake, renews it in time, and a fresh one after 4010", async () => {
  let asked = 0;
  const client = start({ token: async () => `t${++asked}` });
  client.join("lobby");
  assert.deepEqual([client.state, FakeSocket.all.length], ["connecting", 0]);
  await settle();
  const socket = FakeSocket.last;
  assert.deepEqual(socket.protocol, ["fanfare.v1.json", "fanfare.token.t1"]);
  const expires = Date.now() / 1000 + 100;
  socket.welcome({ auth: "token", user: "ann", expires });
  assert.deepEqual([client.state, client.user], ["open", "ann"]);
  assert.deepEqual(socket.sent.map(({ type }) => type), ["join"]);
  mock.timers.tick(80_000);
  await settle();
  assert.equal(socket.command("auth").token, "t2");
  const later = Date.now() / 1000 + 10;
  socket.reply("auth", socket.command("auth"), { user: "ann", expires: later });
  mock.timers.tick(8_000);
  await settle();
  assert.equal(socket.command("auth").token, "t3");
  socket.drop(4010);
  mock.timers.tick(500);
  await settle();
  assert.deepEqual(FakeSocket.last.protocol, ["fanfare.v1.json", "fanfare.token.t4"]);
});

test("a token that cannot be had is asked for again later", async () => {
  let asked = 0;
  const client = start({ token: () => { if (!asked++) throw new Error("no network"); return "t"; } });
  await settle();
  assert.deepEqual([client.state, FakeSocket.all.length], ["waiting", 0]);
  mock.timers.tick(LIMITS.BACKOFF_CAP);
  await settle();
  FakeSocket.last.welcome({ auth: "token" });
  assert.equal(client.state, "open");
});

test("a token that comes too late opens nothing", async () => {
  let give;
  const client = start({ token: () => new Promise((resolve) => { give = resolve; }) });
  await settle();
  client.close();
  give("t");
  await settle();
  assert.deepEqual([client.state, FakeSocket.all.length], ["closed", 0]);
});

test("a node that asks for no token is not told of it again", async () => {
  const client = start({ token: "t" });
  client.join("lobby");
  FakeSocket.last.welcome({ auth: "none" });
  assert.equal(client.state, "open");
  assert.deepEqual(FakeSocket.last.sent.map(({ type }) => type), ["join"]);
});

test("a token that is refused ends it with 4001", async () => {
  const client = start({ token: "stale" });
  let last;
  client.on("state", (change) => { last = change; });
  FakeSocket.last.drop(4001, "token: its signature fits no key here");
  assert.deepEqual([client.state, last.code], ["closed", 4001]);
  assert.equal(last.reason, "token: its signature fits no key here");
});

test("a renewal that is refused ends it, and one without a token does not", async () => {
  let asked = 0;
  const client = start({ token: () => { if (++asked === 2) throw new Error(); return `t${asked}`; } });
  await settle();
  const expires = () => Date.now() / 1000 + 100;
  FakeSocket.last.welcome({ auth: "token", expires: expires(), heartbeat: 3600 });
  mock.timers.tick(80_000);
  await settle();
  assert.deepEqual([client.state, FakeSocket.last.command("auth")], ["open", undefined]);
  mock.timers.tick(17_000);
  await settle();
  assert.equal(FakeSocket.last.command("auth").token, "t3", "asked again while the old one serves");
  FakeSocket.last.drop(4010);
  mock.timers.tick(500);
  await settle();
  FakeSocket.last.welcome({ auth: "token", expires: expires() });
  mock.timers.tick(80_000);
  await settle();
  FakeSocket.last.refuse(FakeSocket.last.command("auth"), "unauthorized", false);
  assert.equal(client.state, "closed");
});

test("a room that the token no longer grants ends, and says why", async () => {
  const { client, room, socket } = hearLobby();
  let told;
  room.on("error", (error) => { told = error; });
  socket.push({ type: "left", room: "lobby", reason: "forbidden" });
  assert.deepEqual([told.code, room.joined, client.state], ["forbidden", false, "open"]);
  await assert.rejects(room.publish(1), { code: "forbidden" });
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
