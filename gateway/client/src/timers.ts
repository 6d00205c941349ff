/** One timer per purpose. Only those that hold keep a Node.js process alive. */

/** Lets a process end although the timer runs; browsers have numbers and no such thing. */
export function letGo<T>(timer: T): T {
  (timer as any)?.unref?.();
  return timer;
}

export class Timers {
  #running = new Map<string, ReturnType<typeof setTimeout>>();

  has(purpose: string): boolean { return this.#running.has(purpose); }

  after(purpose: string, wait: number, action: () => void, hold = false): void {
    this.stop(purpose);
    const timer = setTimeout(() => {
      this.#running.delete(purpose);
      action();
    }, wait);
    this.#running.set(purpose, hold ? timer : letGo(timer));
  }

  stop(purpose: string): void {
    clearTimeout(this.#running.get(purpose));
    this.#running.delete(purpose);
  }

  clear(): void {
    for (const purpose of [...this.#running.keys()]) this.stop(purpose);
  }
}
