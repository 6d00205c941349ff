/** The package `fanfare-client`: rooms over one WebSocket that heals itself. */

import { Fanfare } from "./client.js";
import type { Options } from "./options.js";

export { Fanfare };
export { CLOSE_CODES, type CloseRule } from "./codes.js";
export { FanfareError } from "./error.js";
export { LIMITS, type Limits } from "./limits.js";
export type { Options } from "./options.js";
export type { Callback } from "./promise.js";
export type {
  ClientEvents, History, Member, MemberChange, Message, Position, Presence, Published, RoomEvents,
  State, StateChange, Welcome,
} from "./protocol.js";
export { Room, type Heard, type JoinOptions, type PublishOptions } from "./room.js";
export type { SocketConstructor, SocketLike } from "./socket.js";
export { json, type Wire } from "./wire.js";

/** Connects to a node: `new Fanfare(url, options)` as a function. */
export function connect(url: string | { readonly href: string }, options?: Options): Fanfare {
  return new Fanfare(url, options);
}
