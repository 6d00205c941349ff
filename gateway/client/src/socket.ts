/** One WebSocket, whichever implementation it is of, until it ends or is given up. */

import { FanfareError } from "./error.js";

/** What is needed of a `WebSocket`: browsers, Node.js 22, Deno, Bun and `ws` have it. */
export interface SocketLike {
  binaryType?: any;
  onmessage: any;
  onclose: any;
  onerror: any;
  send(data: any): void;
  close(code?: number): void;
}
export type SocketConstructor = new (url: string, protocol: any) => SocketLike;

export interface SocketEvents {
  received(data: unknown): void;
  ended(code: number, reason: unknown): void;
}

/** The constructor to use; throws where there is none. */
export function constructorOf(given: SocketConstructor | undefined): SocketConstructor {
  const found = given ?? (globalThis as any).WebSocket as SocketConstructor | undefined;
  if (found) return found;
  throw new FanfareError("no_websocket", "there is no WebSocket here: give one, as in"
    + " connect(url, { WebSocket }) with that of the package ws; Node.js has its own from 22 on");
}

export class Socket {
  readonly #socket: SocketLike;

  /** Throws where there is no constructor, or it refuses the address. */
  constructor(given: SocketConstructor | undefined, url: string, protocol: string | string[], on: SocketEvents) {
    const socket = new (constructorOf(given))(url, protocol);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event: any) => on.received(event.data);
    socket.onclose = (event: any) => on.ended(event.code, event.reason);
    // A close follows, which says the same. Without a listener the error would end a Node.js process.
    socket.onerror = () => {};
    this.#socket = socket;
  }

  send(frame: string | Uint8Array): void { this.#socket.send(frame); }

  /** Gives the socket up: nothing more is heard of it. `dead`: the peer does not answer. */
  drop(dead: boolean): void {
    const socket = this.#socket as any;
    socket.onmessage = socket.onclose = null;
    try {
      socket.close(1000);
      // `ws` would wait half a minute for the peer's close frame.
      if (dead) socket.terminate?.();
    } catch { /* it was never open */ }
  }
}
