/** The same in a worker. */

import { Worker } from "node:worker_threads";

new Worker(new URL("main.js", import.meta.url)).on("exit", (code) => process.exit(code));
