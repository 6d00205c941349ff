"""A little of everything that a node counts, so that no series stays empty while queries are checked.

Rooms on every node, members that come and go, a slow reader, a refused handshake, lost links to
Redis. It measures nothing.
"""

import asyncio
import contextlib
import json
import socket
import urllib.parse

import websockets

ROOMS = 12
MEMBERS = 4
# Publications per second and room.
RATE = 10
SLOW_BYTES = 50_000


class Load:
    """Runs until the context ends. `nodes` are public addresses, `redis` a port."""

    def __init__(self, nodes, redis):
        self.nodes, self.redis = nodes, redis

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(self.forever(self.churn, index)) for index in range(3)]
        for room in range(ROOMS):
            for member in range(MEMBERS):
                node = self.nodes[(room + member) % len(self.nodes)]
                self.tasks.append(asyncio.create_task(self.forever(self.member, node, room, member == 0)))
        self.tasks.append(asyncio.create_task(self.forever(self.slow)))
        self.tasks.append(asyncio.create_task(self.forever(self.refused)))
        self.tasks.append(asyncio.create_task(self.forever(self.cut_links)))
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def forever(self, what, *arguments):
        while True:
            with contextlib.suppress(OSError, asyncio.TimeoutError, websockets.WebSocketException):
                await what(*arguments)
            await asyncio.sleep(0.2)

    async def member(self, node, room, publishes):
        async with websockets.connect(f"ws://{node}/ws?room=load-{room}", max_queue=None) as ws:
            if not publishes:
                async for _ in ws:
                    pass
            reader = asyncio.create_task(drain(ws))
            try:
                command = json.dumps({"type": "publish", "room": f"load-{room}", "data": "x" * 200})
                while not reader.done():
                    await ws.send(command)
                    await asyncio.sleep(1 / RATE)
            finally:
                reader.cancel()

    async def churn(self, index):
        async with websockets.connect(f"ws://{self.nodes[index % len(self.nodes)]}/ws?room=load-0"):
            await asyncio.sleep(1.5)

    async def slow(self):
        """A member that does not read, in a room that speaks much: its outbox overflows."""
        node = self.nodes[0]
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        host, _, port = node.partition(":")
        try:
            await asyncio.get_running_loop().sock_connect(deaf, (host, int(port)))
            head = (
                f"GET /ws?room=load-slow HTTP/1.1\r\nHost: {node}\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await asyncio.get_running_loop().sock_sendall(deaf, head.encode())
            async with websockets.connect(f"ws://{node}/plain/load-slow?echo=false") as ws:
                for _ in range(200):
                    await ws.send("x" * SLOW_BYTES)
                    await asyncio.sleep(0.02)
        finally:
            deaf.close()

    async def refused(self):
        """A request for a WebSocket that is none."""
        host, _, port = self.nodes[1].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /ws HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await asyncio.wait_for(reader.read(200), 5)
        writer.close()
        await asyncio.sleep(1)

    async def cut_links(self):
        """Has Redis cut every node off, as it does with slow subscribers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.redis)
        writer.write(b"CLIENT KILL TYPE pubsub\r\n")
        await reader.readline()
        writer.close()
        await asyncio.sleep(15)


async def drain(ws):
    async for _ in ws:
        pass


async def join_rooms(node, rooms, per_connection):
    """Opens connections that are together in `rooms` rooms; returns them open."""
    names = [f"many-{n}" for n in range(rooms)]
    opened = []
    for start in range(0, rooms, per_connection):
        query = urllib.parse.urlencode([("room", name) for name in names[start : start + per_connection]])
        ws = await websockets.connect(f"ws://{node}/ws?{query}")
        joined = 0
        while joined < len(names[start : start + per_connection]):
            joined += json.loads(await ws.recv())["type"] == "joined"
        opened.append(ws)
    return opened
