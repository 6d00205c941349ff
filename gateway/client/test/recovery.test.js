/** What a room hears: every message in order and once, and a reset where that cannot be proved. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { FakeSocket, freshClock, hearLobby, kept, reconnect, start } from "./double.js";

beforeEach(freshClock);

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
  const { client, heard, socket } = hearLobby({}, { history: 50 });
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
  const { heard, socket } = hearLobby();
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
  const { client, heard, socket } = hearLobby({}, { history: 2 });
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
  const { client, heard, socket } = hearLobby();
  socket.drop();
  reconnect(client).joined({ epoch: "y", offset: 1, recovered: false, messages: kept(1, 1) });
  assert.deepEqual(heard, ["RESET", "m1"]);
});

test("a message that names a new epoch goes on in it", () => {
  const { heard, room, socket } = hearLobby();
  socket.message(3);
  socket.push({ type: "message", room: "lobby", data: "m4", epoch: "y", offset: 4 });
  assert.deepEqual(heard, ["m3", "m4"]);
  assert.deepEqual(room.position, { epoch: "y", offset: 4 });
});

test("a reset push adopts the new position", () => {
  const { heard, room, socket } = hearLobby();
  socket.message(7);
  socket.push({ type: "reset", room: "lobby", epoch: "y", offset: 0 });
  socket.joined({ epoch: "y", offset: 0 });
  socket.message(1);
  assert.deepEqual(heard, ["RESET", "m1"]);
  assert.deepEqual(room.position, { epoch: "y", offset: 1 });
  assert.equal(socket.sent.filter(({ type }) => type === "join").length, 2);
});

test("a reset push without a position joins again", () => {
  const { heard, socket } = hearLobby({}, { history: 5 });
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
  FakeSocket.last.message(undefined, { data: "a" });
  FakeSocket.last.drop();
  reconnect(client).joined({ epoch: undefined, offset: undefined });
  FakeSocket.last.message(undefined, { data: "b" });
  FakeSocket.last.message(7, { data: "c" });
  assert.deepEqual(heard, ["a", "RESET", "b", "c"]);
});

test("a room that drops on purpose is taken as it comes", () => {
  const { client, heard, socket } = hearLobby({}, { recover: false });
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
