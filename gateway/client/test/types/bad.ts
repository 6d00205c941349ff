/** What must not compile: each line below such a comment is an error, or the comment is one. */

import { connect } from "fanfare-client";

const client = connect("ws://node/ws");
const plain = client.join("lobby");
const room = client.join<{ chat: { text: string } }>("lobby");

// @ts-expect-error
room.on("mesage", () => {});
// @ts-expect-error
plain.on("chat", () => {});
// @ts-expect-error
room.on("chat", ({ data }) => data.txet);
// @ts-expect-error
room.emit("chat", { text: 1 });
// @ts-expect-error
room.emit("caht", { text: "hi" });
// @ts-expect-error
client.on("mesage", () => {});
// @ts-expect-error
if (client.state === "opne") console.log();
// @ts-expect-error
client.on("state", ({ state }) => state === "opne");
// @ts-expect-error
client.join("lobby", { histroy: 5 });
// @ts-expect-error
connect("ws://node/ws", { limits: { COMAND: 5 } });
// @ts-expect-error
connect();
// @ts-expect-error
room.publish("hi", { key: 5 });
// @ts-expect-error
client.state = "open";
// @ts-expect-error
room._take({});
