/** The same by `require`. */

const { connect, FanfareError } = require("fanfare-client");
const { watchMembers } = require("fanfare-client/members");
const { msgpack } = require("fanfare-client/msgpack");

class Silent {
  send() {}
  close() {}
}

const client = connect("ws://127.0.0.1:1/ws", { WebSocket: Silent, wire: msgpack });
watchMembers(client.join("lobby")).stop();
client.join("lobby").publish(1).catch((error) => {
  if (!(error instanceof FanfareError) || error.code !== "closed") throw error;
  console.log("fanfare-client is whole");
});
client.close();
