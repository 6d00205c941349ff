/** Which address a client connects to. */

/** Set by the builds that come from a node and so know where one is. */
export const place: { script?: string } = {};

/** A full `ws:` address: `http:` is taken as `ws:`, a path as one of the page's own host. */
export function address(url: string | { readonly href: string } | undefined): string {
  const given = typeof url === "object" ? url.href : url;
  let at: URL | undefined;
  try {
    if (given !== undefined) at = new URL(given, (globalThis as any).location?.href);
    // `/ws` beside `/client.js`: a page of another host may load it and reach its node.
    else if (place.script) at = new URL("ws", place.script);
  } catch { /* said below */ }
  if (at) at.protocol = at.protocol.replace(/^http/, "ws");
  if (!at || !/^wss?:$/.test(at.protocol)) {
    const wrong = given === undefined ? "there is no address" : `“${given}” is no such address`;
    throw new TypeError(`Fanfare connects to ws://HOST/ws or wss://HOST/ws; ${wrong}`);
  }
  at.hash = "";
  return at.href;
}
