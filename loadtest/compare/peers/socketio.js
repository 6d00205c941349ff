// Socket.IO with its Redis adapter, as its documentation has it. REDIS names the Redis.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ url: process.env.REDIS });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  perMessageDeflate: false,
  serveClient: false,
});

io.on("connection", (socket) => {
  socket.on("join", async (room) => {
    await socket.join(room);
    socket.emit("joined");
  });
  socket.on("publish", (room, data) => io.to(room).emit("message", data));
});

http.listen(0, "127.0.0.1", 4096, () => {
  console.log(`public    http://127.0.0.1:${http.address().port}/`);
});
