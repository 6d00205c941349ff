/**
 * MessagePack as values. Integers beyond 2⁵³ become `bigint`, an extension `{ extension, bytes }`,
 * keys strings. Bytes that are cut short, or more than the value, are refused.
 */

const utf8 = new TextDecoder();
/** Deeper than the server passes on as a value; below it there is null, and no stack that runs out. */
const DEPTH = 256;

class Reader {
  #at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number { return this.#bytes.length - this.#at; }

  #take(size: number): number {
    if (size > this.left) throw new RangeError("cut short");
    const at = this.#at;
    this.#at += size;
    return at;
  }

  #uint(size: number): number {
    const at = this.#take(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #bin(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  #text(length: number): string {
    const at = this.#take(length);
    return utf8.decode(this.#bytes.subarray(at, at + length));
  }

  #wide(value: bigint): number | bigint {
    const near = Number(value);
    return Number.isSafeInteger(near) ? near : value;
  }

  #extension(length: number): unknown {
    const extension = this.#view.getInt8(this.#take(1));
    return { extension, bytes: this.#bin(length) };
  }

  #array(length: number, depth: number): unknown[] | null {
    if (depth > DEPTH) return this.#skip(length);
    const items: unknown[] = [];
    for (let index = 0; index < length; index++) items.push(this.value(depth));
    return items;
  }

  #map(length: number, depth: number): object | null {
    if (depth > DEPTH) return this.#skip(length * 2);
    const entries: [string, unknown][] = [];
    for (let index = 0; index < length; index++) {
      const key = this.value(depth);
      entries.push([typeof key === "string" ? key : JSON.stringify(key) ?? "", this.value(depth)]);
    }
    // Not by assignment: a key may be `__proto__`.
    return Object.fromEntries(entries);
  }

  /** Passes over so many values without recursion. */
  #skip(values: number): null {
    for (let left = values; left > 0; left--) {
      const tag = this.#uint(1);
      if (tag < 0x80 || tag >= 0xe0) continue;
      if (tag < 0x90) left += (tag & 0x0f) * 2;
      else if (tag < 0xa0) left += tag & 0x0f;
      else if (tag < 0xc0) this.#take(tag & 0x1f);
      else if (tag >= 0xdc) left += this.#uint(tag & 1 ? 4 : 2) * (tag < 0xde ? 1 : 2);
      else if (tag >= 0xd9) this.#take(this.#uint(1 << (tag - 0xd9)));
      else if (tag >= 0xd4) this.#take((1 << (tag - 0xd4)) + 1);
      else if (tag >= 0xcc) this.#take(1 << ((tag - 0xcc) & 3));
      else if (tag >= 0xca) this.#take(tag === 0xca ? 4 : 8);
      else if (tag >= 0xc7) this.#take(this.#uint(1 << (tag - 0xc7)) + 1);
      else if (tag >= 0xc4) this.#take(this.#uint(1 << (tag - 0xc4)));
    }
    return null;
  }

  value(depth = 0): unknown {
    const tag = this.#uint(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 0x0f, depth + 1);
    if (tag < 0xa0) return this.#array(tag & 0x0f, depth + 1);
    if (tag < 0xc0) return this.#text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.#bin(this.#uint(1 << (tag - 0xc4)));
      case 0xc7: case 0xc8: case 0xc9: return this.#extension(this.#uint(1 << (tag - 0xc7)));
      case 0xca: return this.#view.getFloat32(this.#take(4));
      case 0xcb: return this.#view.getFloat64(this.#take(8));
      case 0xcc: case 0xcd: case 0xce: return this.#uint(1 << (tag - 0xcc));
      case 0xcf: return this.#wide(this.#view.getBigUint64(this.#take(8)));
      case 0xd0: return this.#view.getInt8(this.#take(1));
      case 0xd1: return this.#view.getInt16(this.#take(2));
      case 0xd2: return this.#view.getInt32(this.#take(4));
      case 0xd3: return this.#wide(this.#view.getBigInt64(this.#take(8)));
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.#extension(1 << (tag - 0xd4));
      case 0xd9: case 0xda: case 0xdb: return this.#text(this.#uint(1 << (tag - 0xd9)));
      case 0xdc: case 0xdd: return this.#array(this.#uint(tag === 0xdc ? 2 : 4), depth + 1);
      case 0xde: case 0xdf: return this.#map(this.#uint(tag === 0xde ? 2 : 4), depth + 1);
      default: throw new RangeError("no such type");
    }
  }
}

export function decode(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.left) throw new RangeError("more than one value");
  return value;
}
