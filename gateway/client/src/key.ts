/** Keys that make a publish safe to repeat. */

/** 96 random bits; `crypto.randomUUID` would need a secure context, Node.js 18 has no `crypto`. */
export function randomKey(): string {
  const bytes = new Uint8Array(12);
  if (globalThis.crypto) crypto.getRandomValues(bytes);
  else bytes.forEach((_, index) => { bytes[index] = Math.random() * 256; });
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
