/** What users met: errors that nobody was told, waits that were refused, a peer that is frozen. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, mock, test } from "node:test";
import { CLOSE_CODES, Fanfare, LIMITS } from "../client.js";
import { complaints, FakeSocket, freshClock, inLobby, settle, start } from "./double.js";

beforeEach(freshClock);

test("a socket's error has a listener, for as long as there is the socket", () => {
  const { client } = inLobby();
  assert.equal(typeof FakeSocket.last.onerror, "function");
  FakeSocket.last.onerror({ message: "refused" });
  client.close();
  assert.equal(typeof FakeSocket.last.onerror, "function", "closing early raises one too");
});

test("questions right after join wait for the connection, and go out behind the join", async () => {
  const client = start();
  const room = client.join("lobby");
  const asked = [room.presence(), room.members().next(), room.history({ limit: 3 })];
  FakeSocket.last.welcome();
  await settle();
  const socket = FakeSocket.last;
  assert.deepEqual(socket.sent.map(({ type }) => type), ["join", "presence", "presence", "history"]);
  for (const command of socket.commands("presence")) {
    socket.reply("presence", command, { count: 1, users: 0, members: [{ client: "c1" }] });
  }
  socket.reply("history", socket.command("history"), { epoch: "x", offset: 0, messages: [] });
  const [page, first, log] = await Promise.all(asked);
  assert.equal(page.count, 1);
  assert.deepEqual(first, { done: false, value: { client: "c1" } });
  assert.deepEqual(log.messages, []);
});

test("a question does not wait for ever, nor do too many", async () => {
  const client = start({ limits: { COMMANDS: 2, CONNECT: 60_000 } });
  const room = client.join("lobby");
  const waiting = [room.presence(), room.presence()].map((asked) =>
    assert.rejects(asked, { code: "offline", retry: true }));
  await assert.rejects(room.presence(), { code: "queue_full" });
  mock.timers.tick(LIMITS.COMMAND);
  await Promise.all(waiting);
  const closed = assert.rejects(room.presence(), { code: "closed" });
  client.close();
  await closed;
  await assert.rejects(room.presence(), { code: "closed" });
});

test("a second join with other options throws, with the same or none it is the same room", () => {
  const { client, room } = inLobby({}, { history: 5 });
  assert.equal(client.join("lobby"), room);
  assert.equal(client.join("lobby", { history: 5, recover: true }), room);
  for (const other of [{ history: 50 }, { recover: false }, { echo: false }]) {
    assert.throws(() => client.join("lobby", other), { code: "conflict" });
  }
});

for (const [name, value] of Object.entries({
  "a Uint8Array": new Uint8Array([1, 2]),
  "a Buffer": Buffer.from("ab"),
  "a Float32Array": new Float32Array(2),
  "an ArrayBuffer": new ArrayBuffer(2),
  "a DataView": new DataView(new ArrayBuffer(2)),
  "a Blob": new Blob(["ab"]),
  "a Map": new Map([[1, 2]]),
  "a Set": new Set([1]),
  "a promise": Promise.resolve(1),
})) {
  test(`JSON cannot say ${name}, alone or within a value, and says so`, async () => {
    const { room, socket } = inLobby();
    for (const data of [value, { deep: [value] }]) {
      await assert.rejects(room.publish(data), { code: "unsupported", retry: false });
    }
    assert.equal(socket.command("publish"), undefined);
  });
}

test("what JSON can say is published as it was when it was given", async () => {
  const { room, socket } = inLobby();
  const data = { when: new Date(0), list: [1], nothing: undefined };
  room.publish(data);
  room.publish(undefined);
  data.list.push(2);
  const sent = socket.commands("publish").map((command) => command.data);
  assert.deepEqual(sent, [{ when: "1970-01-01T00:00:00.000Z", list: [1] }, null]);
});

test("bytes come in as bytes, also out of the log", async () => {
  const { room, socket } = inLobby();
  const heard = [];
  room.on("message", ({ data, binary }) => heard.push([data, binary]));
  socket.message(3, { data: "AP8Q", binary: true });
  socket.message(4, { data: "AP8Q" });
  const log = room.history();
  const messages = [{ type: "message", data: "AP8Q", binary: true, offset: 3 }];
  socket.reply("history", socket.command("history"), { epoch: "x", offset: 4, messages });
  assert.deepEqual(heard, [[new Uint8Array([0, 255, 16]), true], ["AP8Q", undefined]]);
  assert.deepEqual((await log).messages[0].data, new Uint8Array([0, 255, 16]));
});

test("a refused join is told once: by the room, by ready, by the client, or on the console", async () => {
  const refuse = (client) => {
    FakeSocket.last.welcome();
    FakeSocket.last.refuse(FakeSocket.last.command("join"), "forbidden", false);
    client.close();
  };
  const heard = [];
  for (const listen of [
    (client, room) => room.on("error", ({ code }) => heard.push(`room ${code}`)),
    (client, room) => room.ready.catch(({ code }) => heard.push(`ready ${code}`)),
    (client) => client.on("error", ({ code }) => heard.push(`client ${code}`)),
  ]) {
    const silent = await complaints(() => {
      const client = start();
      listen(client, client.join("secret"));
      refuse(client);
    });
    assert.deepEqual(silent, []);
  }
  assert.deepEqual(heard, ["room forbidden", "ready forbidden", "client forbidden"]);
  const told = await complaints(() => {
    const client = start();
    client.join("secret");
    refuse(client);
  });
  assert.deepEqual(told.map(({ code }) => code), ["forbidden"]);
});

test("ready tells a refusal also to who asks later, and the first join to all", async () => {
  const { client, room, socket } = inLobby();
  assert.equal(await room.ready, room);
  const other = client.join("other");
  other.on("error", () => {});
  socket.refuse(socket.command("join"), "forbidden", false);
  await assert.rejects(other.ready, { code: "forbidden" });
  const third = client.join("third");
  const left = assert.rejects(third.ready, { code: "left" });
  third.leave();
  await left;
});

test("an end for good that nobody listens for is shown, a wanted one is not", async () => {
  const told = await complaints(() => {
    start();
    FakeSocket.last.welcome();
    FakeSocket.last.drop(4003, "not here");
    const heard = start();
    heard.on("state", () => {});
    FakeSocket.last.drop(4003);
    start().close();
  });
  assert.deepEqual(told.map(({ message }) => message), ["closed for good with 4003: not here"]);
});

test("errors of no command are shown where nobody listens", async () => {
  const told = await complaints(() => {
    const { socket } = inLobby();
    socket.push({ type: "error", code: "rate_limited", message: "slow down", retry: true });
  });
  assert.deepEqual(told.map(({ code }) => code), ["rate_limited"]);
});

test("a command that times out makes the connection suspect: a ping, then a new one", async () => {
  const { client, room, socket } = inLobby();
  const asked = assert.rejects(room.presence(), { code: "timeout" });
  mock.timers.tick(LIMITS.COMMAND);
  await asked;
  assert.equal(socket.commands("ping").length, 1, "asked at once");
  mock.timers.tick(LIMITS.WAKE - 1);
  assert.equal(client.state, "open");
  mock.timers.tick(1);
  assert.equal(client.state, "waiting");
  assert.ok(socket.closed);
});

test("a node that answers the ping is kept, however many commands timed out", async () => {
  const { client, room, socket } = inLobby();
  const asked = [room.presence(), room.history()].map((one) => assert.rejects(one, { code: "timeout" }));
  mock.timers.tick(LIMITS.COMMAND);
  await Promise.all(asked);
  assert.equal(socket.commands("ping").length, 1, "one ping for all");
  socket.reply("pong", socket.command("ping"));
  mock.timers.tick(LIMITS.WAKE);
  assert.equal(client.state, "open");
});

test("what an older connection was asked says nothing about the next one", () => {
  const { client, room, socket } = inLobby();
  room.presence().catch(() => {});
  mock.timers.tick(LIMITS.COMMAND);
  assert.ok(socket.command("ping"));
  socket.drop();
  mock.timers.tick(LIMITS.BACKOFF_BASE);
  FakeSocket.last.welcome();
  FakeSocket.last.joined({ offset: 2 });
  mock.timers.tick(LIMITS.WAKE);
  assert.equal(client.state, "open");
});

test("a listener that throws, at once or later, stops nobody", async () => {
  const told = await complaints(async () => {
    const { client, room, socket } = inLobby();
    const heard = [];
    room.on("message", () => { throw new Error("first"); });
    room.on("message", async () => { throw new Error("second"); });
    room.on("message", ({ data }) => heard.push(data));
    client.on("state", () => { throw new Error("third"); });
    client.on("error", () => { throw new Error("fourth"); });
    socket.message(3);
    socket.message(4);
    socket.push({ type: "error", code: "rate_limited", message: "", retry: true });
    socket.drop();
    assert.deepEqual(heard, ["m3", "m4"]);
    assert.equal(client.state, "waiting");
    room.publish("x", {}, () => { throw new Error("fifth"); });
    client.close();
  });
  const counts = Object.groupBy?.(told, ({ message }) => message) ?? {};
  assert.deepEqual(new Set(told.map(({ message }) => message)),
    new Set(["first", "second", "third", "fourth", "fifth"]), JSON.stringify(counts));
});

test("off, once and the returned function end what on began", () => {
  const { room, socket } = inLobby();
  const heard = [];
  const first = () => heard.push("first");
  room.on("message", first);
  room.once("message", () => heard.push("once"));
  const stop = room.on("message", () => {
    heard.push("second");
    stop();
    room.off("message", first);
  });
  socket.message(3);
  socket.message(4);
  assert.deepEqual(heard, ["first", "once", "second"]);
});

test("without a WebSocket it says what to do", () => {
  const { WebSocket } = globalThis;
  delete globalThis.WebSocket;
  try {
    assert.throws(() => new Fanfare("ws://node/ws"), { code: "no_websocket", message: /WebSocket }/ });
  } finally {
    if (WebSocket) globalThis.WebSocket = WebSocket;
  }
});

test("an address that cannot be is refused at once, http is taken as ws", () => {
  for (const url of [undefined, "nonsense", "ftp://node/ws"]) {
    assert.throws(() => start.call(null, new Fanfare(url, { WebSocket: FakeSocket })), TypeError);
  }
  new Fanfare("https://node/ws#x", { WebSocket: FakeSocket }).close();
  assert.equal(FakeSocket.last.url, "wss://node/ws");
  new Fanfare(new URL("ws://node/ws"), { WebSocket: FakeSocket }).close();
  assert.equal(FakeSocket.last.url, "ws://node/ws");
});

test("a constructor that throws while reconnecting counts as one more failure", () => {
  let broken = false;
  class Fragile extends FakeSocket {
    constructor(...args) {
      if (broken) throw new Error("no more sockets");
      super(...args);
    }
  }
  const client = start({ WebSocket: Fragile });
  const changes = [];
  client.on("state", ({ state, reason }) => changes.push([state, reason]));
  broken = true;
  FakeSocket.last.drop();
  mock.timers.tick(LIMITS.BACKOFF_BASE);
  assert.equal(client.state, "waiting");
  assert.match(changes.at(-1)[1], /no more sockets/);
  broken = false;
  mock.timers.tick(LIMITS.BACKOFF_CAP);
  assert.equal(client.state, "connecting");
});

test("a socket that refuses to send costs that command, not the client", async () => {
  const { client, room, socket } = inLobby();
  socket.send = () => { throw new Error("closing"); };
  await assert.rejects(room.presence(), { code: "disconnected", retry: true });
  assert.equal(client.state, "open");
});

test("close codes are named as in the protocol", () => {
  const protocol = readFileSync(new URL("../../../shared/PROTOCOL.md", import.meta.url), "utf8");
  const rows = [...protocol.matchAll(/^\| (\d{4}) \| `(\w+)` \|/gm)].map(([, code, name]) => [code, name]);
  const known = Object.entries(CLOSE_CODES).map(([code, { name }]) => [code, name]);
  assert.equal(rows.length, 16);
  assert.deepEqual(known.filter(([code]) => code !== "1006"), rows);
});
