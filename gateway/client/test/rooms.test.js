/** What a room offers beyond joining: the application's events, quiet publishes, options. */

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { LIMITS } from "../client.js";
import { FakeSocket, freshClock, inLobby, settle, start } from "./double.js";

beforeEach(freshClock);

test("the application's events come by their names, and as messages", () => {
  const { room, socket } = inLobby();
  const heard = [];
  room.on("chat", ({ data }) => heard.push(["chat", data]));
  room.on("message", ({ event, data }) => heard.push([event, data]));
  socket.message(3, { event: "chat", data: "hi" });
  socket.message(4, { event: "move", data: 1 });
  assert.deepEqual(heard, [["chat", "hi"], ["chat", "hi"], ["move", 1]]);
});

test("a publication never passes for one of the room's own events", () => {
  const { room, socket } = inLobby();
  const own = ["joined", "recovered", "reset", "member", "error"];
  const heard = [];
  for (const type of [...own, "message"]) room.on(type, ({ event }) => heard.push([type, event]));
  own.concat("message").forEach((event, index) => socket.message(3 + index, { event }));
  assert.deepEqual(heard, [...own, "message"].map((event) => ["message", event]));
  socket.message(9, { event: "__proto__" });
  socket.message(10, { event: "constructor" });
  assert.equal(room.position.offset, 10);
});

test("emit publishes with the event's name, to a promise or a callback", async () => {
  const { room, socket } = inLobby();
  const promised = room.emit("chat", "hi");
  const called = [];
  assert.equal(room.emit("chat", "hi", {}, (...answer) => called.push(answer)), undefined);
  room.publish("bad", {}, (...answer) => called.push(answer));
  const [one, two, three] = socket.commands("publish");
  assert.deepEqual([one.event, two.event, three.event], ["chat", "chat", undefined]);
  socket.reply("published", one, { epoch: "x", offset: 3 });
  socket.reply("published", two, { epoch: "x", offset: 4 });
  socket.refuse(three, "forbidden", false);
  assert.deepEqual(await promised, { epoch: "x", offset: 3 });
  await settle();
  assert.deepEqual(called[0], [null, { epoch: "x", offset: 4 }]);
  assert.equal(called[1][0].code, "forbidden");
});

test("recovered tells how much came after how long away", () => {
  const { room, socket } = inLobby();
  const heard = [];
  room.on("message", ({ data }) => heard.push(data));
  room.on("recovered", (what) => heard.push(what));
  socket.drop();
  mock.timers.tick(LIMITS.BACKOFF_BASE);
  FakeSocket.last.welcome();
  mock.timers.tick(700);
  const messages = [{ offset: 3, data: "m3" }];
  FakeSocket.last.joined({ offset: 3, recovered: true, messages });
  const away = LIMITS.BACKOFF_BASE + 700;
  assert.deepEqual(heard, ["m3", { messages: 1, away }]);
  FakeSocket.last.message(6);
  FakeSocket.last.joined({ offset: 6, recovered: true, messages: [] });
  assert.equal(heard.length, 2, "a gap healed in place is no time away");
});

test("what echo: false takes from the order is no gap, whichever comes first", async () => {
  const { room, socket } = inLobby();
  const heard = [];
  room.on("message", ({ data }) => heard.push(data));
  const joins = () => socket.commands("join").length;
  room.publish("own", { echo: false });
  const first = socket.command("publish");
  assert.equal(first.echo, false);
  socket.reply("published", first, { epoch: "x", offset: 3 });
  socket.message(4);
  room.publish("own", { echo: false });
  socket.message(6);
  socket.message(7);
  assert.deepEqual(heard, ["m4"], "the reply has to say first that 5 is one's own");
  socket.reply("published", socket.command("publish"), { epoch: "x", offset: 5 });
  assert.deepEqual(heard, ["m4", "m6", "m7"]);
  assert.equal(joins(), 1);
  assert.deepEqual(room.position, { epoch: "x", offset: 7 });
});

test("a real gap is healed although a quiet publish waits, and when it has its answer", () => {
  const { room, socket } = inLobby({ limits: { ASIDE: 2 } }, { echo: false });
  const joins = () => socket.commands("join").length;
  room.publish("own");
  assert.equal(socket.command("publish").echo, false, "the room's option");
  socket.message(5);
  socket.message(6);
  assert.equal(joins(), 1);
  socket.message(7);
  assert.equal(joins(), 2, "no more is set aside than the limit");
  socket.joined({ offset: 7, recovered: true, messages: [] });
  socket.message(10);
  socket.reply("published", socket.command("publish"), { epoch: "x", offset: 8 });
  assert.equal(joins(), 3, "9 is missing");
  assert.deepEqual(socket.command("join").since, { epoch: "x", offset: 8 });
});

test("lazy connects with the first join, or when told", () => {
  const client = start({ lazy: true });
  assert.equal(client.state, "closed");
  assert.equal(FakeSocket.all.length, 0);
  client.join("lobby");
  assert.equal(client.state, "connecting");
  const other = start({ lazy: true });
  other.close();
  other.join("lobby");
  assert.equal(other.state, "closed", "closed by hand stays closed");
});

test("limits are the application's, and have to be such", () => {
  const client = start({ limits: { BACKOFF_BASE: 4_000 } });
  let retryAt;
  client.on("state", (change) => { retryAt = change.retryAt; });
  FakeSocket.last.drop();
  assert.equal(retryAt - Date.now(), 4_000);
  assert.throws(() => start({ limits: { BACKOF_BASE: 1 } }), /BACKOF_BASE: there is no such limit/);
  assert.throws(() => start({ limits: { COMMAND: -1 } }), /COMMAND: has to be above 0/);
});

test("debug tells states and frames, and may throw", () => {
  const told = [];
  const { client } = inLobby({ debug: (what, detail) => told.push([what, detail.state ?? detail]) });
  client.close();
  const kinds = told.map(([what]) => what);
  assert.deepEqual(kinds, ["state", "receive", "send", "state", "receive", "state"]);
  assert.match(told[2][1], /^\{"id":1,"type":"join"/);
});
