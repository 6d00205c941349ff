/** What a refused or failed command is told by, and the last resort for errors that nobody awaits. */

/** Codes of the client's own; the server's are in the protocol's table of errors. */
export type OwnCode =
  | "closed" | "disconnected" | "offline" | "timeout" | "queue_full" | "left" | "no_websocket"
  | "conflict" | "unsupported";

/** A refused or failed command: `code` is the server's, or one of the client's own. */
export class FanfareError extends Error {
  readonly code: string;
  /** Whether the same command may succeed later. */
  readonly retry: boolean;

  constructor(code: OwnCode | (string & {}), message: string = code, retry = false) {
    super(message);
    this.name = "FanfareError";
    this.code = code;
    this.retry = retry;
  }
}

/**
 * Shows an error that nobody listens for: where the page's error handlers see it, else on the
 * console. It never ends a process.
 */
export function show(error: unknown): void {
  const { document, reportError } = globalThis as any;
  if (document && reportError) reportError(error);
  else console.error(error);
}
