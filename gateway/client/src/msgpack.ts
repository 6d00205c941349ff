/** The wire `fanfare.v1.msgpack`: smaller than JSON, and the one to publish bytes in. */

import { decode } from "./msgpack/decode.js";
import { encodeEntries, header } from "./msgpack/encode.js";
import type { Wire } from "./wire.js";

export { decode } from "./msgpack/decode.js";
export { encode } from "./msgpack/encode.js";

interface Entries { count: number; bytes: Uint8Array }

export const msgpack: Wire<Entries> = {
  protocol: "fanfare.v1.msgpack",

  body: (command) => encodeEntries(command),

  frame({ count, bytes }, id) {
    const head = header(count + 1, id);
    const frame = new Uint8Array(head.length + bytes.length);
    frame.set(head);
    frame.set(bytes, head.length);
    return frame;
  },

  fits: (frame, most) => frame.length <= most,

  decode(data) {
    const bytes = data instanceof Uint8Array ? data : new Uint8Array(data as ArrayBuffer);
    return Object(decode(bytes));
  },
};
