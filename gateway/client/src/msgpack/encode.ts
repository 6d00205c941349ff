/** Values as MessagePack, each in the shortest form. */

import { FanfareError } from "../error.js";
import { lossy } from "../wire.js";

const utf8 = new TextEncoder();

class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  get result(): Uint8Array { return this.#bytes.slice(0, this.#length); }

  #room(size: number): number {
    const at = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  byte(value: number): void {
    const at = this.#room(1);
    this.#bytes[at] = value;
  }

  uint(tag: number, size: 1 | 2 | 4, value: number): void {
    this.byte(tag);
    const at = this.#room(size);
    if (size === 1) this.#view.setUint8(at, value);
    else if (size === 2) this.#view.setUint16(at, value);
    else this.#view.setUint32(at, value);
  }

  big(tag: number, value: bigint): void {
    this.byte(tag);
    const at = this.#room(8);
    this.#view.setBigUint64(at, BigInt.asUintN(64, value));
  }

  float(value: number): void {
    this.byte(0xcb);
    const at = this.#room(8);
    this.#view.setFloat64(at, value);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** A length: in the tag itself, or behind the one for 8 (where there is one), 16 or 32 bits. */
  size(length: number, fix: number, most: number, tag8: number, tag16: number): void {
    if (length < most) this.byte(fix | length);
    else if (tag8 && length < 0x100) this.uint(tag8, 1, length);
    else if (length < 0x1_0000) this.uint(tag16, 2, length);
    else this.uint(tag16 + 1, 4, length);
  }
}

function number(out: Writer, value: number): void {
  if (!Number.isInteger(value) || Object.is(value, -0) || Math.abs(value) >= 2 ** 63) out.float(value);
  else if (value >= 0) {
    if (value < 0x80) out.byte(value);
    else if (value < 0x100) out.uint(0xcc, 1, value);
    else if (value < 0x1_0000) out.uint(0xcd, 2, value);
    else if (value < 2 ** 32) out.uint(0xce, 4, value);
    else out.big(0xcf, BigInt(value));
  } else if (value >= -0x20) out.byte(value & 0xff);
  else if (value >= -0x80) out.uint(0xd0, 1, value & 0xff);
  else if (value >= -0x8000) out.uint(0xd1, 2, value & 0xffff);
  else if (value >= -(2 ** 31)) out.uint(0xd2, 4, value >>> 0);
  else out.big(0xd3, BigInt(value));
}

function string(out: Writer, value: string): void {
  const bytes = utf8.encode(value);
  out.size(bytes.length, 0xa0, 32, 0xd9, 0xda);
  out.raw(bytes);
}

function bytesOf(value: any): Uint8Array | undefined {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (!ArrayBuffer.isView(value)) return undefined;
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

function write(out: Writer, value: any): void {
  switch (typeof value) {
    case "boolean": return out.byte(value ? 0xc3 : 0xc2);
    case "number": return number(out, value);
    case "string": return string(out, value);
    case "bigint":
      if (value >= 0n && value < 2n ** 64n) return out.big(0xcf, value);
      if (value < 0n && value >= -(2n ** 63n)) return out.big(0xd3, value);
      throw new FanfareError("unsupported", "data: an integer of more than 64 bits");
    case "object": break;
    // As in JSON: what is not a value is null.
    default: return out.byte(0xc0);
  }
  if (value === null) return out.byte(0xc0);
  const bytes = bytesOf(value);
  if (bytes) {
    out.size(bytes.length, 0, 0, 0xc4, 0xc5);
    return out.raw(bytes);
  }
  const name = lossy(value);
  if (name) throw new FanfareError("unsupported", `data: MessagePack has no ${name}`);
  if (typeof value.toJSON === "function") return write(out, value.toJSON());
  if (Array.isArray(value)) {
    out.size(value.length, 0x90, 16, 0, 0xdc);
    for (const item of value) write(out, item);
    return;
  }
  const entries = said(value);
  out.size(entries.length, 0x80, 16, 0, 0xde);
  pairs(out, entries);
}

/** What JSON would leave out is left out here too. */
const said = (value: object): [string, unknown][] => Object.entries(value).filter(
  ([, item]) => item !== undefined && typeof item !== "function" && typeof item !== "symbol");

function pairs(out: Writer, entries: [string, unknown][]): void {
  for (const [key, item] of entries) {
    string(out, key);
    write(out, item);
  }
}

export function encode(value: unknown): Uint8Array {
  const out = new Writer();
  write(out, value);
  return out.result;
}

/** The entries of a map without its head, so that one more may stand before them. */
export function encodeEntries(map: object): { count: number; bytes: Uint8Array } {
  const entries = said(map);
  const out = new Writer();
  pairs(out, entries);
  return { count: entries.length, bytes: out.result };
}

/** The head of a map of `count` entries, the first of them `id`. */
export function header(count: number, id: number): Uint8Array {
  const out = new Writer();
  out.size(count, 0x80, 16, 0, 0xde);
  string(out, "id");
  number(out, id);
  return out.result;
}
