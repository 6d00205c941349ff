/**
 * Builds the package into `dist/`, and `client.js`, which a node serves and which is committed, so
 * that building a node needs no Node.js. `--check` fails if the committed one is another.
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
const banner = (what) => ({
  js: `/* ${what} of fanfare-client, Apache-2.0; built from gateway/client/src by \`make client\`. */`,
});
const whole = { bundle: true, minify: true, target: "es2022", charset: "utf8", logLevel: "warning" };

const served = buildSync({
  ...whole, mangleProps: /^_/, entryPoints: ["src/served.ts"], format: "esm", banner: banner("The ES module"),
  write: false,
}).outputFiles[0].text;

if (process.argv.includes("--check")) {
  if (readFileSync("client.js", "utf8") === served) process.exit(0);
  console.error("gateway/client/client.js is not what its source builds: run `make client`");
  process.exit(1);
}
writeFileSync("client.js", served);

rmSync("dist", { recursive: true, force: true });
const typescript = createRequire(import.meta.url).resolve("typescript/bin/tsc");
for (const format of ["esm", "cjs"]) {
  const all = readdirSync("src", { recursive: true })
    .filter((file) => /\.ts$/.test(file) && !/^(served|classic)\.ts$/.test(file))
    .map((file) => `src/${file}`);
  buildSync({
    entryPoints: all, outdir: `dist/${format}`, outbase: "src", format, target: "es2022",
    charset: "utf8", logLevel: "warning",
  });
  execFileSync(process.execPath, [typescript, "-p", ".", "--outDir", `dist/${format}`], { stdio: "inherit" });
  for (const extra of ["served", "classic"]) rmSync(`dist/${format}/${extra}.d.ts`);
}
writeFileSync("dist/cjs/package.json", '{ "type": "commonjs", "sideEffects": false }\n');
// For resolvers that do not read `exports`: Parcel, and TypeScript's "node10".
for (const part of ["members", "msgpack"]) {
  const place = (format, end) => `../dist/${format}/${part}.${end}`;
  mkdirSync(part, { recursive: true });
  writeFileSync(`${part}/package.json`, `${JSON.stringify({
    main: place("cjs", "js"), module: place("esm", "js"), types: place("cjs", "d.ts"),
  }, null, 2)}\n`);
}
buildSync({
  ...whole, mangleProps: /^_/, entryPoints: ["src/classic.ts"], format: "iife", globalName: "fanfare",
  banner: banner("The classic script"), outfile: "dist/fanfare.js",
});
copyFileSync("../../LICENSE", "LICENSE");
