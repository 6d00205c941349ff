/** One answer for two tastes: a promise, or a callback where one was given. */

import type { FanfareError } from "./error.js";

export type Callback<Reply> = (error: Error | null, reply?: Reply) => unknown;

/** Runs `start`; what it throws is a failure like any other. */
export function toPromise(
  callback: Callback<any> | undefined,
  failed: (error: unknown) => void,
  start: (done: (error: FanfareError | null, reply?: any) => void) => void,
): Promise<any> | void {
  const promise = new Promise((resolve, reject) => {
    start((error, reply) => error ? reject(error) : resolve(reply));
  });
  if (!callback) return promise;
  promise.then((reply) => callback(null, reply), (error) => callback(error)).catch(failed);
}
