/** How commands and events are spelled: the interface of a wire, and JSON, the default one. */

import { FanfareError } from "./error.js";

/**
 * A command goes in two steps: `body` when it is given, so that what the application changes later
 * is not sent, and `frame` when it goes out, with the id of that attempt.
 */
export interface Wire<Body = unknown> {
  /** What is offered as `Sec-WebSocket-Protocol`. */
  readonly protocol: string;
  body(command: object): Body;
  frame(body: Body, id: number): string | Uint8Array;
  /** Whether the frame has at most so many bytes. */
  fits(frame: string | Uint8Array, most: number): boolean;
  /** The event in a message, or an exception. */
  decode(data: unknown): any;
}

const BYTES = /^(?:(?:Shared)?ArrayBuffer|DataView|Blob|File|[A-Z]\w+Array)$/;
const EMPTY = /^(?:(?:Weak)?(?:Map|Set)|Promise)$/;

/** What a value is called if writing it as JSON would quietly lose it, else nothing. */
export function lossy(value: any): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  if (BYTES.test(tag)) return tag;
  return EMPTY.test(tag) && typeof value.toJSON !== "function" ? tag : undefined;
}

/** `fanfare.v1.json`. Bytes cannot be published in it: the protocol has no way to say them. */
export const json: Wire<string> = {
  protocol: "fanfare.v1.json",

  body(command) {
    return JSON.stringify(command, function (this: any, key, value) {
      // `this[key]` is the value before its `toJSON`, which a Buffer has.
      const name = lossy(this[key]);
      if (!name) return value;
      const cure = BYTES.test(name)
        ? "bytes need the MessagePack wire, see fanfare-client/msgpack"
        : "make an array or a plain object of it";
      throw new FanfareError("unsupported", `data: JSON cannot say a ${name}; ${cure}`);
    });
  },

  frame: (body, id) => `{"id":${id},${body.slice(1)}`,

  fits(frame, most) {
    return frame.length * 3 <= most || new TextEncoder().encode(frame as string).length <= most;
  },

  decode(data) {
    const event = Object(JSON.parse(data as string));
    for (const message of [event, ...(Array.isArray(event.messages) ? event.messages : [])]) {
      if (message.binary === true && typeof message.data === "string") {
        message.data = Uint8Array.from(atob(message.data), (char) => char.charCodeAt(0));
      }
    }
    return event;
  },
};
