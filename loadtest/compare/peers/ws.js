// The `ws` package as its documentation has it: rooms are sets, a message goes to each member.

import { createServer } from "node:http";
import { WebSocketServer, WebSocket } from "ws";

const rooms = new Map();
const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false });

server.on("connection", (socket, request) => {
  const name = new URL(request.url, "http://x").searchParams.get("room");
  if (!rooms.has(name)) rooms.set(name, new Set());
  const room = rooms.get(name);
  room.add(socket);
  socket.on("message", (data, isBinary) => {
    for (const member of room) {
      if (member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary });
    }
  });
  socket.on("close", () => room.delete(socket));
  socket.on("error", () => {});
});

http.listen(0, "127.0.0.1", 4096, () => {
  console.log(`public    http://127.0.0.1:${http.address().port}/`);
});
