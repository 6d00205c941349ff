/** The golden vectors of the protocol: what the client writes and reads, in both wires. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { json } from "../dist/esm/wire.js";
import { decode, encode, msgpack } from "../dist/esm/msgpack.js";

const vectors = new URL("../../../shared/vectors/", import.meta.url);
const read = (path) => JSON.parse(readFileSync(new URL(path, vectors), "utf8"));
const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const all = (folder) => readdirSync(new URL(`${folder}/`, vectors))
  .flatMap((file) => read(`${folder}/${file}`));

test("commands are written byte for byte", () => {
  for (const { name, json: value, msgpack: packed } of all("commands")) {
    const command = value ?? decode(bytes(packed));
    assert.equal(hex(encode(command)), packed, name);
    const { id, ...rest } = command;
    if (id === undefined) continue;
    // A frame begins with the id; the vectors have it second. The meaning is the same.
    const framed = msgpack.frame(msgpack.body(rest), id);
    assert.deepEqual(decode(framed), { id, ...rest }, name);
    if (value) assert.deepEqual(JSON.parse(json.frame(json.body(rest), id)), value, name);
  }
});

test("events mean the same in both wires", () => {
  const inBytes = (event) => JSON.stringify(event, (key, value) =>
    (value instanceof Uint8Array ? [...value] : key === "binary" ? undefined : value));
  for (const { name, json: value, msgpack: packed } of all("events")) {
    const one = json.decode(JSON.stringify(value));
    const other = msgpack.decode(bytes(packed).buffer);
    assert.deepEqual(JSON.parse(inBytes(one)), JSON.parse(inBytes(other)), name);
  }
});

test("payloads are read as the members of either format get them", () => {
  for (const { name, to } of read("data.json")) {
    if (to.msgpack === undefined) continue;
    assert.doesNotThrow(() => decode(bytes(to.msgpack)), name);
  }
});

test("values survive MessagePack, each in its shortest form", () => {
  const values = [
    null, true, 0, 127, 128, 255, 256, 65535, 65536, 2 ** 32, Number.MAX_SAFE_INTEGER, -1, -32, -33,
    -128, -129, -32768, -32769, -(2 ** 31), -(2 ** 31) - 1, Number.MIN_SAFE_INTEGER, 1.5, -0, 2 ** 70,
    2n ** 63n, -(2n ** 63n), "", "x".repeat(31), "ü".repeat(40), "x".repeat(300), "x".repeat(70_000),
    [], Array(16).fill(1), Array(70_000).fill(0), {}, Object.fromEntries(Array(20).fill(1).entries()),
    new Uint8Array(300), JSON.parse('{"__proto__":{"a":1}}'),
  ];
  for (const value of values) assert.deepEqual(decode(encode(value)), value);
  assert.equal(hex(encode({ a: undefined, b: () => {}, c: new Date(0) })),
    hex(encode({ c: "1970-01-01T00:00:00.000Z" })));
  assert.throws(() => encode([new Map()]), { code: "unsupported" });
  assert.throws(() => encode(2n ** 64n), { code: "unsupported" });
});

test("what is cut short, too long or no value is refused; what is deep is cut", () => {
  const whole = encode({ a: [1, "two", new Uint8Array(3), 4.5, 2 ** 40], b: { c: null } });
  for (let length = 0; length < whole.length; length++) {
    assert.throws(() => decode(whole.subarray(0, length)), RangeError);
  }
  assert.throws(() => decode(new Uint8Array([1, 1])), RangeError);
  assert.throws(() => decode(new Uint8Array([0xc1])), RangeError);
  assert.throws(() => decode(bytes("ddffffffff")), RangeError);
  // Arrays in arrays, then one of each other kind, and a value that follows.
  const deep = bytes(`92${"91".repeat(60_000)}9a${[
    "c0", "82a161cc05a16205", "dc000101", "df00000001a16105", "c403000000", "d90178", "cb0000000000000000",
    "d40100", "c70201ffff", "d3ffffffffffffffff",
  ].join("")}07`);
  const [, after] = decode(deep);
  assert.equal(after, 7);
});
