/** The live map of members: right by pages and by what is told, in whatever order they come. */

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { watchMembers } from "../dist/esm/members.js";
import { FakeSocket, freshClock, inLobby, settle } from "./double.js";

beforeEach(freshClock);

const page = (socket, clients, fields) => socket.reply("presence", socket.command("presence"), {
  count: clients.length, users: 0, members: clients.map((client) => ({ client })), ...fields,
});
const told = (socket, action, fields) =>
  socket.push({ type: "member", room: "lobby", action, ...fields });

test("is read page by page and follows who comes and goes, also while it is read", async () => {
  const { room, socket } = inLobby();
  const members = watchMembers(room);
  let changes = 0;
  members.on("change", () => { changes += 1; });
  page(socket, ["a", "b"], { next: "b", count: 3 });
  await settle();
  assert.equal(socket.command("presence").after, "b");
  told(socket, "leave", { client: "a" });
  told(socket, "leave", { client: "c" });
  told(socket, "join", { client: "d", user: "u", info: { name: "Ann" } });
  page(socket, ["c"], { count: 3 });
  await members.ready;
  assert.deepEqual([...members.keys()].sort(), ["b", "d"]);
  assert.deepEqual(members.get("d"), { client: "d", user: "u", info: { name: "Ann" } });
  assert.deepEqual([members.size, members.count, members.complete], [2, 2, true]);
  const before = changes;
  told(socket, "join", { client: "e" });
  told(socket, "leave", { client: "b" });
  assert.deepEqual([...members.keys()].sort(), ["d", "e"]);
  assert.equal(changes, before + 2);
  members.stop();
});

test("is shared, and asks no more when the last has stopped", async () => {
  const { room, socket } = inLobby();
  const members = watchMembers(room);
  assert.equal(watchMembers(room), members);
  page(socket, ["a"]);
  await members.ready;
  members.stop();
  mock.timers.tick(60_000);
  await settle();
  assert.equal(socket.commands("presence").length, 2, "still refreshed for the other");
  page(socket, ["a", "b"]);
  await settle();
  assert.equal(members.size, 2);
  members.stop();
  mock.timers.tick(20_000);
  assert.equal(socket.commands("presence").length, 2);
  assert.notEqual(watchMembers(room), members);
});

test("is read anew after a reconnection", async () => {
  const { room, socket } = inLobby();
  const members = watchMembers(room);
  page(socket, ["a", "c1"]);
  await members.ready;
  socket.drop();
  mock.timers.tick(500);
  const next = FakeSocket.last;
  next.welcome();
  next.joined({ offset: 2 });
  assert.equal(members.size, 2, "what was known stands until more is");
  page(next, ["c2"]);
  await settle();
  assert.deepEqual([...members.keys()], ["c2"]);
});

test("in a room that is too large it counts and says that it is not complete", async () => {
  const { room, socket } = inLobby();
  const members = watchMembers(room, { most: 2 });
  page(socket, ["a", "b"], { next: "b", count: 900, users: 7 });
  await members.ready;
  assert.deepEqual([members.size, members.count, members.complete], [2, 900, false]);
  for (let count = 901; count < 950; count++) told(socket, "count", { count, users: 8, joined: 1, left: 0 });
  assert.deepEqual([members.count, members.users], [949, 8]);
  mock.timers.tick(10_000);
  assert.equal(socket.commands("presence").length, 2, "read anew once, not at each count");
});

test("a room that may not be asked ends it with its error", async () => {
  const { room, socket } = inLobby();
  const members = watchMembers(room);
  socket.refuse(socket.command("presence"), "forbidden", false);
  await assert.rejects(members.ready, { code: "forbidden" });
  mock.timers.tick(120_000);
  assert.equal(socket.commands("presence").length, 1);
});
