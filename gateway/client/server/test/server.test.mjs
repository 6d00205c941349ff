import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { Fanfare, token, verify } from "../fanfare.mjs";

const { FANFARE, FANFARE_API: url, FANFARE_WS, FANFARE_API_KEY: key, FANFARE_AUTH_SECRET: secret } = process.env;
const fanfare = new Fanfare({ url, key });

/** A client that prints what it gets in a room, once it is there. */
async function member(user, room) {
  const child = spawn(FANFARE, ["sub", room, "--json", "--url", FANFARE_WS], {
    env: { ...process.env, FANFARE_TOKEN: token(secret, { sub: user, rooms: { [room]: ["join"] } }) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  while (!(await members(room)).some((one) => one.user === user)) await new Promise((next) => setTimeout(next, 20));
  return { next: async () => JSON.parse((await lines.next()).value), ended };
}

async function members(room) {
  const all = [];
  for await (const one of fanfare.presence(room)) all.push(one);
  return all;
}

test("what is published arrives, and is kept", async () => {
  const ann = await member("ann", "node:news");
  const data = { text: "Zoë 🎺", list: [1, null, true] };
  const at = await fanfare.publish("node:news", data, { event: "news", key: "k1" });
  assert.deepEqual(await fanfare.publish("node:news", data, { key: "k1" }), at);
  const got = await ann.next();
  assert.deepEqual([got.data, got.event, got.offset], [data, "news", at.offset]);
  await fanfare.publish("node:news", Uint8Array.of(0, 255, 10));
  const { messages } = await fanfare.history("node:news", { since: at, limit: 10 });
  assert.deepEqual(messages.map(({ data, binary }) => [data, binary]), [["AP8K", true]]);
  await fanfare.disconnect({ user: "ann" }, "enough");
  assert.notEqual(await ann.ended, 0);
});

test("a broadcast has an outcome for each room", async () => {
  const [one, other] = await fanfare.broadcast(["node:one", "node:a/b c"], 7);
  assert.deepEqual([one.offset, other.offset], [1, 1]);
  assert.equal((await fanfare.history("node:a/b c")).messages[0].data, 7);
});

test("a message to a user says whether one has it", async () => {
  assert.equal(await fanfare.send("nobody", 1), false);
  const bob = await member("bob", "node:hall");
  assert.equal(await fanfare.send("bob", 1), true);
  await fanfare.disconnect({ room: "node:hall" });
  await bob.ended;
});

test("a refusal has a code", async () => {
  const stranger = new Fanfare({ url, key: "another" });
  await assert.rejects(stranger.publish("a", 1), { status: 401, code: "unauthorized", retry: false });
  await assert.rejects(async () => fanfare.publish("..", 1), TypeError);
  assert.throws(() => fanfare.disconnect({}), TypeError);
  assert.throws(() => new Fanfare({ url }), TypeError);
});

test("a signature is verified", () => {
  for (const vector of JSON.parse(readFileSync(process.env.VECTORS))) {
    const { id, timestamp, signature, body } = vector;
    const headers = { "webhook-id": id, "webhook-timestamp": `${timestamp}`, "webhook-signature": signature };
    const ask = (tolerance) => verify(vector.secret, headers, body, tolerance);
    if (vector.valid) assert.deepEqual(ask(1e12), JSON.parse(body), vector.name);
    else assert.throws(() => ask(1e12), /webhook-signature/, vector.name);
    assert.throws(() => ask(), /webhook-timestamp/, "an old one");
  }
});
