/** What a node serves at `/client.js`: the package, and the address of that node's `/ws`. */

import { place } from "./place.js";

if (import.meta.url.startsWith("http")) place.script = import.meta.url;

export * from "./index.js";
