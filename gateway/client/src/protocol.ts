/** What goes over the wire and what listeners get, by type. */

import type { FanfareError } from "./error.js";

/** A place in a room's log. Offsets of different epochs say nothing about each other. */
export interface Position { epoch: string; offset: number }

/** A publication as a member gets it. */
export interface Message<Data = any> {
  room: string;
  event?: string;
  /** The payload; a `Uint8Array` where it was published as bytes. */
  data: Data;
  binary?: true;
  /** Who published; not there for the server's own. */
  from?: { client: string; user?: string };
  /** Its place in the room's log; not there in rooms without one. */
  offset?: number;
  epoch?: string;
  /** When it was accepted, in milliseconds since 1970; for people, not for order. */
  time: number;
  /** It comes out of the log: it was published before the room was joined, or while away. */
  replayed?: true;
}

export interface Member { client: string; user?: string; info?: any }

/** Who came or went; of a large room only how many. */
export type MemberChange =
  | ({ action: "join" | "leave"; room: string } & Member)
  | { action: "count"; room: string; count: number; users: number; joined: number; left: number };

export interface Presence { count: number; users: number; members: Member[]; next?: string }

/** A part of a room's log, and its newest position, where it has one. */
export interface History { epoch?: string; offset?: number; messages: Message[] }

/** Where a publication is in the log; a room without one has no positions. */
export interface Published { epoch?: string; offset?: number }

export interface Welcome {
  client: string;
  user?: string;
  node: string;
  heartbeat?: number;
  max_message?: number;
  /** `none` where the node asks for no token, `anonymous` where this connection showed none. */
  auth?: "none" | "anonymous" | "token";
  /** When the token runs out, in seconds since 1970. */
  expires?: number;
}

/** `connecting` → `open` → `waiting` (to reconnect) → `connecting` …; `closed` until `connect()`. */
export type State = "connecting" | "open" | "waiting" | "closed";

export interface StateChange {
  state: State;
  /** Why the connection ended: its close code, 1006 where there was none. */
  code?: number;
  /** The close reason, or the code's name in the protocol. */
  reason?: string;
  /** When the next attempt is made, in milliseconds since 1970. */
  retryAt?: number;
}

export interface ClientEvents {
  state: StateChange;
  welcome: Welcome;
  /** What belongs to no command and no other listener. */
  error: FanfareError;
  /** @internal */
  direct: Message;
}

/** The names that a room has for itself: an application's event of such a name comes as `message` only. */
export interface RoomEvents {
  /** Every publication, whatever its event. */
  message: Message;
  /** The room is joined, for the first time or anew. */
  joined: Published & { recovered: boolean };
  /** After a time away nothing is missing: what was missed came as `message` before this. */
  recovered: { messages: number; away: number };
  /** Messages may be missing here. */
  reset: { reason: string };
  member: MemberChange;
  /** The room cannot be joined and is given up. */
  error: FanfareError;
}
