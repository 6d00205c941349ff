/** The package as others get it: its size, its types, its doors, and what a node serves of it. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";

const root = new URL("..", import.meta.url);
const require = createRequire(import.meta.url);

test("the whole client has at most 6.8 KiB, gzipped", () => {
  for (const file of ["client.js", "dist/fanfare.js"]) {
    const size = gzipSync(readFileSync(new URL(file, root)), { level: 9 }).length;
    assert.ok(size <= 6.8 * 1024, `${file}: ${size} bytes`);
  }
});

test("what a node serves is what the source builds", () => {
  execFileSync(process.execPath, ["build.js", "--check"], { cwd: root, stdio: "inherit" });
});

test("types: what is right compiles, what is misspelt does not", () => {
  const tsc = require.resolve("typescript/bin/tsc");
  const usual = ["--noEmit", "--strict", "--target", "es2022", "--skipLibCheck", "false"];
  const files = ["test/types/good.ts", "test/types/bad.ts"];
  for (const how of [
    ["--module", "nodenext", "--lib", "es2022,dom"],
    ["--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom"],
  ]) {
    const options = { cwd: root, encoding: "utf8" };
    try {
      execFileSync(process.execPath, [tsc, ...usual, ...how, ...files], options);
    } catch (error) {
      assert.fail(error.stdout);
    }
  }
});

test("is there by import, by require and as a classic script", async () => {
  const names = ["CLOSE_CODES", "Fanfare", "FanfareError", "LIMITS", "Room", "connect", "json"];
  assert.deepEqual(Object.keys(await import("fanfare-client")).sort(), names);
  assert.deepEqual(Object.keys(require("fanfare-client")).sort(), names);
  assert.equal(typeof require("fanfare-client/msgpack").msgpack.frame, "function");
  assert.equal(typeof require("fanfare-client/members").watchMembers, "function");
  const page = { URL };
  runInNewContext(readFileSync(new URL("dist/fanfare.js", root), "utf8"), page);
  assert.equal(runInNewContext("Object.keys(fanfare).sort().join()", page), names.join());
});

test("the lock file names no host", () => {
  const lock = readFileSync(new URL("package-lock.json", root), "utf8");
  assert.doesNotMatch(lock, /"resolved"/);
});

test("every limit of the client is told in its README", () => {
  const readme = readFileSync(new URL("README.md", root), "utf8");
  for (const name of Object.keys(require("fanfare-client").LIMITS)) assert.ok(readme.includes(`\`${name}\``), name);
});
