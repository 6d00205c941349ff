/**
 * The chat page: a door (name and room) and a hall (the room). It owns the DOM and nothing else;
 * the connection, its recovery and the retries are the client's. What others wrote reaches the DOM
 * as text nodes only.
 */

import { Fanfare } from "./client.js";
import { Transcript } from "./transcript.js";

/** Messages asked for on entry. */
const HISTORY = 50;
/** How often the number of people is asked for, in milliseconds, while the page is looked at. */
const COUNT_EVERY = 30_000;
/** How long more are awaited when somebody comes or goes, before it is asked for at once. */
const COUNT_PAUSE = 500;
/** Client ids of this tab that are remembered, so that after a reload one's own words are known. */
const OWN_IDS = 32;
const NAME_LENGTH = 32;
/** As `RoomName` of the server: bytes of UTF-8, no control characters. */
const ROOM_BYTES = 255;

const $ = (id) => document.getElementById(id);
const params = new URLSearchParams(location.search);
const transcript = new Transcript($("log"), $("lines"), $("newer"));

/** Null at the door. @type {{client: Fanfare, room: any, name: string} | null} */
let visit = null;
let retryAt = 0;
let counting = null;

// Remembering

// Storage throws where it is switched off; then nothing is remembered.
const remember = (storage, key, value) => {
  try { globalThis[storage].setItem(`fanfare.${key}`, value); } catch { /* see above */ }
};
const remembered = (storage, key) => {
  try { return globalThis[storage].getItem(`fanfare.${key}`) ?? ""; } catch { return ""; }
};
const ownIds = new Set(remembered("sessionStorage", "ids").split(" ").filter(Boolean));

function rememberId(id) {
  ownIds.delete(id);
  ownIds.add(id);
  for (const oldest of ownIds) {
    if (ownIds.size <= OWN_IDS) break;
    ownIds.delete(oldest);
  }
  remember("sessionStorage", "ids", [...ownIds].join(" "));
}

/** The node that the address asks for, where it is not the one that this page came from. */
function elsewhere() {
  try {
    const { host } = new URL(params.get("url"));
    return host === location.host ? "" : host;
  } catch {
    return "";
  }
}

/** A token is one node's, and no other is told it. */
const tokenKey = () => (elsewhere() ? `token@${elsewhere()}` : "token");

/** A token comes in the fragment (`/#token=…`), which no server logs, and leaves it at once. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  remember("sessionStorage", tokenKey(), token);
  history.replaceState(null, "", location.pathname + location.search);
}

/** The address is there to be shared: it has the room, and nothing of who is in it. */
function showAddress(room) {
  const query = new URLSearchParams();
  for (const [key, value] of [["room", room], ["url", params.get("url")]]) {
    if (value) query.set(key, value);
  }
  history.replaceState(null, "", `${location.pathname}?${query}`);
}

// Validation: each returns what is wrong, or nothing

const INVISIBLE = /[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]/u;

function wrongName(name) {
  if (!name) return "Choose a name, so that others know who speaks.";
  if ([...name].length > NAME_LENGTH) return `A name has at most ${NAME_LENGTH} characters.`;
  if (INVISIBLE.test(name)) return "A name has only characters that can be seen.";
}

function wrongRoom(room) {
  if (!room) return "Choose a room, for example lobby.";
  const bytes = new TextEncoder().encode(room).length;
  if (bytes > ROOM_BYTES) return `A room’s name has at most ${ROOM_BYTES} bytes, not ${bytes}.`;
  if (/\p{Cc}/u.test(room)) return "A room’s name has no control characters.";
}

function wrongUrl(url) {
  try {
    if (!/^wss?:$/.test(new URL(url).protocol)) throw new Error();
  } catch {
    return `The address asks for the node “${url}”, which is no ws:// or wss:// address.`;
  }
}

function tell(field, trouble = "") {
  $(`${field}-trouble`).textContent = trouble;
  $(field).setAttribute("aria-invalid", String(Boolean(trouble)));
}

// The door

function showDoor() {
  $("hall").hidden = true;
  $("door").hidden = false;
  document.title = "Fanfare";
  setState("idle", "");
}

function enter() {
  const name = $("name").value.trim().replace(/\s+/g, " ");
  const room = $("room").value.trim();
  const url = params.get("url") || undefined;
  tell("name", wrongName(name));
  tell("room", wrongRoom(room) ?? (url && wrongUrl(url)));
  const wrong = document.querySelector('[aria-invalid="true"]');
  if (wrong) return wrong.focus();
  const token = $("token").value.trim();
  if (token) remember("sessionStorage", tokenKey(), token);
  $("token").value = "";
  remember("localStorage", "name", name);
  remember("localStorage", "room", room);
  remember("sessionStorage", "inside", room);
  showAddress(room);
  open(name, room, url);
}

/** Back to the door, where the node wants a token that it has not been shown. */
function askForToken(reason) {
  remember("sessionStorage", tokenKey(), "");
  leave();
  $("token-field").hidden = false;
  tell("token", `The node wants a token. It says: ${reason}`);
  $("token").focus();
}

/** The way back to the door, with a reason when the room sent us there. */
function leave(trouble) {
  visit?.room.leave();
  visit?.client.close();
  visit = null;
  remember("sessionStorage", "inside", "");
  showAddress($("room").value.trim());
  showDoor();
  tell("room", trouble);
  $("room").focus();
}

// The hall

function open(name, roomName, url) {
  let client;
  try {
    client = new Fanfare(url, { token: remembered("sessionStorage", tokenKey()) || undefined });
  } catch (error) {
    return tell("room", `No connection can be opened: ${error.message}`);
  }
  const room = client.join(roomName, { history: HISTORY });
  visit = { client, room, name };
  const here = (listener) => (detail) => visit?.client === client && listener(detail);

  client.on("welcome", here((welcome) => {
    rememberId(welcome.client);
    $("node").textContent = welcome.node ?? "";
    $("open-door").hidden = welcome.auth !== "none";
  }));
  client.on("state", here(showState));
  client.on("error", here((error) => transcript.aside(`The server says: ${error.message}`)));
  room.on("joined", here(() => {
    transcript.ready();
    count();
  }));
  room.on("member", here((change) => {
    if (change.action === "count") showCount(change.count);
    else countSoon();
  }));
  room.on("message", here((message) => transcript.add(message, ownIds.has(message.from?.client))));
  room.on("reset", here(() => transcript.aside("Some messages may be missing here", "missing")));
  room.on("error", here(({ message }) => leave(`“${roomName}” cannot be entered: ${message}`)));

  $("door").hidden = true;
  $("hall").hidden = false;
  $("title").textContent = roomName;
  $("count").textContent = "";
  const quoted = `'${roomName.replaceAll("'", "'\\''")}'`;
  const word = /^[\w:.@-]+$/.test(roomName) ? roomName : quoted;
  $("pub").textContent = `fanfare pub ${word} hello`;
  $("sub").textContent = `fanfare sub ${word}`;
  transcript.clear();
  showTitle();
  showState({ state: client.state });
  $("text").focus();
}

function setState(state, text) {
  const element = $("state");
  if (element.textContent !== text) element.textContent = text;
  element.dataset.state = state;
}

/** @param {{state: string, code?: number, reason?: string, retryAt?: number}} change */
function showState(change) {
  if (change.code === 4001) return askForToken(change.reason);
  retryAt = change.retryAt ?? 0;
  const text = {
    connecting: "Connecting…",
    open: "Connected",
    waiting: "Reconnecting",
    closed: `Offline: ${change.reason}`,
  }[change.state];
  setState(change.state, text);
  document.querySelector(".where").hidden = change.state !== "open" || !$("node").textContent;
  $("retry").hidden = change.state !== "waiting" && change.state !== "closed";
  $("retry").textContent = change.state === "closed" ? "Connect again" : "Now";
  if (change.state !== "open") $("count").textContent = "";
  tick();
}

/** Each second: the countdown, seen but not read out. */
function tick() {
  const left = Math.ceil((retryAt - Date.now()) / 1000);
  $("countdown").textContent = retryAt && left > 0 ? `in ${left} s` : "";
}

function showCount(count) {
  $("count").textContent = count === undefined ? "" : `${count} here`;
}

async function count() {
  const { client, room } = visit ?? {};
  if (client?.state !== "open" || document.hidden) return;
  // A room may keep no presence: then nothing is shown.
  const presence = await room.presence({ limit: 0 }).catch(() => ({}));
  if (visit?.room === room) showCount(presence.count);
}

/** Asks once for all who come and go within a moment. */
function countSoon() {
  counting ??= setTimeout(() => {
    counting = null;
    count();
  }, COUNT_PAUSE);
}

function say() {
  const text = $("text").value.trim();
  if (!visit || !text) return;
  const { name, room } = visit;
  $("text").value = "";
  fit();
  $("text").focus();
  const pending = transcript.addPending(name, text);
  const again = () => {
    $("text").value = [text, $("text").value].filter(Boolean).join("\n");
    fit();
    $("text").focus();
  };
  room.publish({ name, text }, { event: "chat" })
    .then(pending.accepted, (error) => pending.failed(error, again));
}

/** Grows the box with its text where `field-sizing` is not known. */
function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`;
}

function showTitle() {
  const unseen = transcript.unread ? `(${transcript.unread}) ` : "";
  if (visit) document.title = `${unseen}${visit.room.name} · Fanfare`;
}

// Wiring

$("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  enter();
});
for (const field of ["name", "room", "token"]) $(field).addEventListener("input", () => tell(field));
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  say();
});
$("text").addEventListener("input", fit);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    say();
  }
});
$("hall").addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  transcript.toNewest();
  $("text").focus();
});
$("newer").addEventListener("click", () => {
  transcript.toNewest();
  $("text").focus();
});
$("retry").addEventListener("click", () => visit?.client.connect());
$("leave").addEventListener("click", () => leave());
document.addEventListener("visibilitychange", () => {
  transcript.seen();
  count();
});
transcript.onchange = showTitle;
setInterval(tick, 1_000);
setInterval(count, COUNT_EVERY);

$("name").value = params.get("name") || remembered("localStorage", "name");
$("room").value = params.get("room") ?? (remembered("localStorage", "room") || "lobby");
takeToken();
showDoor();
const inside = params.get("room") && params.get("room") === remembered("sessionStorage", "inside");
if (elsewhere()) {
  // Anyone may write a link: where it leads away from here, only the visitor's own click follows.
  $("elsewhere").textContent = `This link leads to another node, ${elsewhere()}, which will get `
    + "your name and what you say. Enter only if you trust it.";
  $("enter").textContent = `Enter at ${elsewhere()}`;
  $("enter").focus();
} else if ((params.get("name") && params.get("room")) || ($("name").value && inside)) enter();
else ($("name").value ? $("room") : $("name")).focus();
