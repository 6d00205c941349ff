/** What has to compile, as an application would write it. */

import { connect, Fanfare, FanfareError, type Message, type Published } from "fanfare-client";
import { watchMembers } from "fanfare-client/members";
import { msgpack } from "fanfare-client/msgpack";

interface Events { chat: { text: string }; move: [number, number] }

const client: Fanfare = connect("ws://node/ws", { wire: msgpack, lazy: true, limits: { COMMAND: 5_000 } });
client.on("state", ({ state, code, retryAt }) => {
  if (state === "open") console.log(code?.toFixed(), retryAt?.toFixed());
});
const room = client.join<Events>("lobby", { history: 50 });
room.on("chat", ({ data, offset }) => console.log(data.text.length, offset));
room.on("move", ({ data: [x, y] }) => console.log(x + y));
room.on("message", (message: Message) => console.log(message.data));
room.once("recovered", ({ messages, away }) => console.log(messages + away));
room.on("member", (change) => {
  if (change.action === "count") console.log(change.joined);
  else console.log(change.client);
});
const published: Promise<Published> = room.emit("chat", { text: "hi" }, { echo: false });
room.emit("move", [1, 2], undefined, (error, reply) => console.log(error, reply?.offset));
const members = watchMembers(room);
for (const [id, { user }] of members) console.log(id, user);
const joined: Promise<typeof room> = room.ready;
const error = new FanfareError("timeout");
console.log(published, joined, error.retry);
