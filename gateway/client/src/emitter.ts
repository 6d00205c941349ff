/**
 * Listeners by the name of the event. A listener that throws, at once or later, stops neither the
 * other listeners nor whoever emits.
 */

interface Entry { listener: (detail: any) => unknown; once: boolean; off?: boolean }

export abstract class Emitter<Events extends object> {
  #entries = new Map<unknown, Entry[]>();

  /** Calls `listener` for each such event; the returned function stops that. */
  on<K extends keyof Events>(type: K, listener: (detail: Events[K]) => unknown): () => void {
    return this.#add(type, { listener, once: false });
  }

  /** Calls `listener` for the next such event only. */
  once<K extends keyof Events>(type: K, listener: (detail: Events[K]) => unknown): () => void {
    return this.#add(type, { listener, once: true });
  }

  /** Stops what `on` and `once` began: one listener, or all of the event. */
  off<K extends keyof Events>(type: K, listener?: (detail: Events[K]) => unknown): void {
    for (const entry of this.#entries.get(type) ?? []) {
      if (!listener || entry.listener === listener) this.#remove(type, entry);
    }
  }

  #add(type: unknown, entry: Entry): () => void {
    this.#entries.set(type, [...(this.#entries.get(type) ?? []), entry]);
    return () => this.#remove(type, entry);
  }

  #remove(type: unknown, entry: Entry): void {
    entry.off = true;
    const left = (this.#entries.get(type) ?? []).filter((other) => other !== entry);
    if (left.length) this.#entries.set(type, left);
    else this.#entries.delete(type);
  }

  /** Says whether anybody listened. @internal */
  _emit(type: unknown, detail: unknown): boolean {
    // A list is replaced, never changed: listeners added meanwhile hear the next event.
    const entries = this.#entries.get(type) ?? [];
    for (const entry of entries) {
      if (entry.off) continue;
      if (entry.once) this.#remove(type, entry);
      try {
        const later = entry.listener(detail) as any;
        if (typeof later?.then === "function") later.then(undefined, this._failed);
      } catch (error) {
        this._failed(error);
      }
    }
    return entries.length > 0;
  }

  /** What is done about an error that a listener threw. @internal */
  abstract readonly _failed: (error: unknown) => void;
}
