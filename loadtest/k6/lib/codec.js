// The two formats of fanfare.v1: JSON in text frames, MessagePack in binary ones.
//
// MessagePack by hand, since nothing can be imported here: what a command needs is written, what
// an event may hold is read (no extension types, which the protocol does not use).

export const json = {
  name: 'json',
  protocol: 'fanfare.v1.json',
  encode: JSON.stringify,
  decode: JSON.parse,
};

export const msgpack = {
  name: 'msgpack',
  protocol: 'fanfare.v1.msgpack',
  encode: (value) => {
    const bytes = [];
    write(bytes, value);
    return new Uint8Array(bytes).buffer;
  },
  decode: (buffer) => new Reader(buffer).value(),
};

// --- writing ---

function write(out, value) {
  if (value === null || value === undefined) out.push(0xc0);
  else if (value === true) out.push(0xc3);
  else if (value === false) out.push(0xc2);
  else if (typeof value === 'number') writeNumber(out, value);
  else if (typeof value === 'string') writeString(out, value);
  else if (Array.isArray(value)) {
    writeLength(out, value.length, 0x90, 15, 0xdc);
    for (const item of value) write(out, item);
  } else {
    // As JSON does: a field without a value is left out.
    const keys = Object.keys(value).filter((key) => value[key] !== undefined);
    writeLength(out, keys.length, 0x80, 15, 0xde);
    for (const key of keys) {
      writeString(out, key);
      write(out, value[key]);
    }
  }
}

function writeNumber(out, value) {
  if (Number.isInteger(value) && value >= 0 && value < 128) out.push(value);
  else if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) writeInt(out, 0xce, value, 4);
  else if (Number.isSafeInteger(value) && value >= 0) writeInt(out, 0xcf, value, 8);
  else {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    out.push(0xcb);
    for (let at = 0; at < 8; at += 1) out.push(view.getUint8(at));
  }
}

function writeInt(out, marker, value, width) {
  out.push(marker);
  for (let byte = width - 1; byte >= 0; byte -= 1) out.push(Math.floor(value / 256 ** byte) % 256);
}

function writeString(out, text) {
  // UTF-8, one character a byte: there is no TextEncoder here.
  const bytes = unescape(encodeURIComponent(text));
  if (bytes.length >= 32 && bytes.length < 256) out.push(0xd9, bytes.length);
  else writeLength(out, bytes.length, 0xa0, 31, 0xda);
  for (let at = 0; at < bytes.length; at += 1) out.push(bytes.charCodeAt(at));
}

/** A length in the marker itself, or after it in 16 bits, or after the next marker in 32. */
function writeLength(out, length, fix, most, marker) {
  if (length <= most) out.push(fix | length);
  else if (length < 65536) writeInt(out, marker, length, 2);
  else writeInt(out, marker + 1, length, 4);
}

// --- reading ---

class Reader {
  constructor(buffer) {
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.at = 0;
  }

  value() {
    const marker = this.bytes[this.at++];
    if (marker < 0x80) return marker;
    if (marker < 0x90) return this.map(marker & 15);
    if (marker < 0xa0) return this.list(marker & 15);
    if (marker < 0xc0) return this.text(marker & 31);
    if (marker >= 0xe0) return marker - 256;
    switch (marker) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.binary(this.uint(1));
      case 0xc5: return this.binary(this.uint(2));
      case 0xc6: return this.binary(this.uint(4));
      case 0xca: return this.float(4);
      case 0xcb: return this.float(8);
      case 0xcc: return this.uint(1);
      case 0xcd: return this.uint(2);
      case 0xce: return this.uint(4);
      case 0xcf: return this.uint(8);
      case 0xd0: return this.int(1);
      case 0xd1: return this.int(2);
      case 0xd2: return this.int(4);
      case 0xd3: return this.int(8);
      case 0xd9: return this.text(this.uint(1));
      case 0xda: return this.text(this.uint(2));
      case 0xdb: return this.text(this.uint(4));
      case 0xdc: return this.list(this.uint(2));
      case 0xdd: return this.list(this.uint(4));
      case 0xde: return this.map(this.uint(2));
      case 0xdf: return this.map(this.uint(4));
      default: throw new Error(`MessagePack: marker 0x${marker.toString(16)} at ${this.at - 1}`);
    }
  }

  uint(width) {
    let value = 0;
    for (const end = this.at + width; this.at < end; ) value = value * 256 + this.bytes[this.at++];
    return value;
  }

  int(width) {
    const negative = this.bytes[this.at] >= 0x80;
    const value = this.uint(width);
    return negative ? value - 256 ** width : value;
  }

  float(width) {
    const value = width === 4 ? this.view.getFloat32(this.at) : this.view.getFloat64(this.at);
    this.at += width;
    return value;
  }

  binary(length) {
    this.at += length;
    return this.bytes.slice(this.at - length, this.at);
  }

  text(length) {
    const bytes = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    let text = '';
    // In pieces: a call takes only so many arguments.
    for (let at = 0; at < length; at += 4096) {
      text += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096));
    }
    return /[\x80-\xff]/.test(text) ? decodeURIComponent(escape(text)) : text;
  }

  list(length) {
    const items = [];
    for (let item = 0; item < length; item += 1) items.push(this.value());
    return items;
  }

  map(length) {
    const fields = {};
    for (let field = 0; field < length; field += 1) {
      const key = this.value();
      fields[key] = this.value();
    }
    return fields;
  }
}
