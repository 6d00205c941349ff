/** Whole Node.js processes over `ws`: what ends them, and what keeps them alive. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { WebSocketServer } from "ws";

/** Runs a script with `client` connected to the port; its exit code and output. */
function run(port, script) {
  const source = `
    import { connect } from "fanfare-client";
    import { WebSocket } from "ws";
    const client = connect("ws://127.0.0.1:${port}/ws", { WebSocket });
    ${script}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    cwd: new URL("..", import.meta.url), stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (text) => { output += text; });
  child.stderr.on("data", (text) => { output += text; });
  return { child, ended: once(child, "close").then(([code]) => ({ code, output })) };
}

async function closedPort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function node(handler) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  server.on("connection", (socket) => {
    const say = (event) => socket.send(JSON.stringify(event));
    say({ type: "welcome", client: "c1", node: "n1", heartbeat: 25 });
    socket.on("message", (text) => handler?.(JSON.parse(text), say));
  });
  return { port: server.address().port, close: () => server.close() };
}

test("a refused connection does not end the process, and closing the client does", async () => {
  const { ended } = run(await closedPort(), `
    let refused = 0;
    client.on("state", ({ state }) => {
      if (state !== "waiting") return;
      console.log("waiting");
      if (++refused === 2) client.close();
      else client.connect();
    });`);
  assert.deepEqual(await ended, { code: 0, output: "waiting\nwaiting\n" });
});

test("closing while the connection is being made ends cleanly", async () => {
  const { ended } = run(await closedPort(), "client.close();");
  assert.deepEqual(await ended, { code: 0, output: "" });
});

test("a closed client with questions and publishes under way leaves no timer behind", async () => {
  const server = await node();
  const { ended } = run(server.port, `
    const room = client.join("lobby");
    const lost = [room.publish(1), room.presence(), room.ready].map((one) => one.catch(({ code }) => code));
    client.on("state", ({ state }) => state === "open" && setTimeout(() => {
      room.leave();
      client.close();
    }));
    console.log((await Promise.all(lost)).join());`);
  const { code, output } = await ended;
  assert.equal(code, 0, output);
  assert.match(output, /^left,(closed|disconnected|left),left\n$/);
  server.close();
});

test("a client that waits to reconnect keeps the process alive until it is back", async () => {
  const port = await closedPort();
  const { child, ended } = run(port, `
    client.on("state", ({ state }) => {
      if (state === "waiting") console.log("waiting");
      if (state === "open") { console.log("back"); client.close(); }
    });`);
  await once(child.stdout, "data");
  const server = new WebSocketServer({ port, host: "127.0.0.1" });
  server.on("connection", (socket) => socket.send('{"type":"welcome","client":"c1","node":"n1"}'));
  const { code, output } = await ended;
  assert.equal(code, 0, output);
  assert.match(output, /back\n$/);
  server.close();
});

test("a throwing listener and an unheard refusal do not end the process", async () => {
  const server = await node(({ type, id, room }, say) => {
    say({ type: "error", id, room, code: "forbidden", message: `${type} is not for you`, retry: false });
  });
  const { ended } = run(server.port, `
    client.on("state", () => { throw new Error("mine"); });
    client.join("secret");
    client.on("welcome", () => setTimeout(() => client.close(), 50));`);
  const { code, output } = await ended;
  assert.equal(code, 0, output);
  assert.match(output, /mine/);
  assert.match(output, /join is not for you/);
  server.close();
});
