// Bun's own WebSocket server and its publish(): uWebSockets, the C++ library, inside.

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    const room = new URL(request.url).searchParams.get("room");
    if (server.upgrade(request, { data: room })) return;
    return new Response("a WebSocket, please", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      socket.subscribe(socket.data);
    },
    message(socket, message) {
      server.publish(socket.data, message);
    },
  },
});

console.log(`public    http://127.0.0.1:${server.port}/`);
