/** An application that needs each part of the package; it prints what it found. */

import { connect, FanfareError } from "fanfare-client";
import { watchMembers } from "fanfare-client/members";
import { encode, msgpack } from "fanfare-client/msgpack";

class Silent {
  send() {}
  close() {}
}

const client = connect("ws://127.0.0.1:1/ws", { WebSocket: Silent, wire: msgpack });
const room = client.join("lobby");
const members = watchMembers(room);
members.stop();
room.publish(new Uint8Array([1])).catch((error) => {
  if (!(error instanceof FanfareError) || error.code !== "closed") throw error;
  if (encode([1]).length !== 2) throw new Error("encode");
  console.log("fanfare-client is whole");
});
client.close();
