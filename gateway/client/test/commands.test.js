/** Commands and their replies: publishes, joins, questions, and what becomes of each that fails. */

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { LIMITS } from "../client.js";
import { FakeSocket, freshClock, hearLobby, reconnect, settle, start } from "./double.js";

beforeEach(freshClock);

test("publishes with a key and resolves with the position", async () => {
  const { room, socket } = hearLobby();
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
  const { client, room, socket } = hearLobby();
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
  const { room, socket } = hearLobby();
  socket.drop();
  for (let n = 0; n < LIMITS.PUBLISHES; n++) room.publish(n).catch(() => {});
  await assert.rejects(room.publish("one too many"), { code: "queue_full" });
});

test("a refusal that may pass is retried with backoff and holds back what follows", async () => {
  const { room, socket } = hearLobby();
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
  const { room, socket } = hearLobby();
  const done = room.publish("one");
  socket.refuse(socket.command("publish"), "forbidden", false);
  await assert.rejects(done, { name: "FanfareError", code: "forbidden", retry: false });
});

test("a publish without an answer is repeated with its key, for a bounded time", async () => {
  const { room, socket } = hearLobby({ random: () => 0.001 });
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
  const { client, room, socket } = hearLobby();
  const done = assert.rejects(room.publish("bad"), { code: "disconnected", retry: false });
  socket.drop(1009);
  await done;
  const next = reconnect(client);
  next.joined({ offset: 2 });
  assert.equal(next.command("publish"), undefined);
});

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
  const { client, room, heard, socket } = hearLobby();
  const left = room.leave();
  socket.reply("left", socket.command("leave"));
  await left;
  socket.message(3);
  assert.deepEqual(heard, []);
  socket.drop();
  assert.equal(reconnect(client).command("join"), undefined);
  assert.notEqual(client.join("lobby"), room);
});

test("a command without a reply fails with timeout; offline it fails at once", async () => {
  const { room, socket } = hearLobby();
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
  const { room, socket } = hearLobby();
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

test("errors of no command and direct messages reach the client, nonsense hurts nobody", () => {
  const { client, socket } = hearLobby();
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
