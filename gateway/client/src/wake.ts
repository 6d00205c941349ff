/** Tells when the page is looked at again or the network is back: a time to check, not to wait. */

export function watchPage(on: boolean, wake: () => void): void {
  const verb = on ? "addEventListener" : "removeEventListener";
  const { document } = globalThis as any;
  (globalThis as any)[verb]?.("online", wake);
  document?.[verb]?.("visibilitychange", wake);
}

export const hidden = (): boolean => (globalThis as any).document?.visibilityState === "hidden";
