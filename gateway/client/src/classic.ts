/** The classic script: all of the package as the global `fanfare`. */

export * from "./index.js";
