/** What an application may say when it connects. */

import type { Limits } from "./limits.js";
import type { SocketConstructor } from "./socket.js";
import type { Wire } from "./wire.js";

export interface Options {
  /** The constructor to use where there is no global one, for example that of the package `ws`. */
  WebSocket?: SocketConstructor;
  /** `msgpack` of `fanfare-client/msgpack`, in place of JSON. */
  wire?: Wire<any>;
  /** Connect with the first `join` or by `connect()`, not at once. */
  lazy?: boolean;
  /** Other bounds and waits than the defaults, `LIMITS`. */
  limits?: Partial<Limits>;
  /** Tells every state and frame: on the console, or to a function. */
  debug?: boolean | ((what: string, detail: unknown) => void);
  /**
   * The token that the server asks for. A function is asked on every connection, and again a while
   * before the token runs out; where it fails, the client comes back later.
   */
  token?: string | (() => string | Promise<string>);
  /** In place of `Math.random`, for tests. */
  random?: () => number;
}
