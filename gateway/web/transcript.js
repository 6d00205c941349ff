/**
 * The log of a room on the page: what is said, grouped by speaker and day, one's own words while
 * they wait for the server, and a scroll position that belongs to the reader.
 */

/** Lines kept on the page; the oldest go first. */
const LINES = 500;
/** Characters of one message shown; the rest is cut with an ellipsis. */
const LENGTH = 4_000;
/** How long, in milliseconds, one speaker's lines go under one name. */
const GROUP = 5 * 60_000;
/** After this many milliseconds without an answer a line says that it waits. */
const SLOW = 1_000;
/** How long, in milliseconds, an accepted line waits for the room to repeat it. */
const ECHO = 10_000;
/** Messages are drawn together this often, in milliseconds: a burst costs one layout. */
const DRAW = 16;
/** How near to its end, in pixels, the log counts as read to the end. */
const NEAR = 48;
const HUES = 6;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayOf = (time) => new Date(time).toDateString();

function nameOfDay(time) {
  if (dayOf(time) === dayOf(Date.now())) return "Today";
  if (dayOf(time) === dayOf(Date.now() - 86_400_000)) return "Yesterday";
  return date.format(time);
}

/** What a message shows, whatever its shape: chat, plain text, bytes or any JSON. */
export function present({ data, binary, from }) {
  const sender = from?.user ?? from?.client ?? "server";
  if (binary) return { name: sender, text: `${data.byteLength} bytes`, raw: true };
  if (typeof data === "string") return { name: sender, text: clip(data), raw: false };
  if (typeof data?.text === "string") {
    const given = typeof data.name === "string" ? data.name : "";
    const name = [...given.replace(/[\p{Cc}\s\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]+/gu, " ").trim()].slice(0, 32).join("");
    return { name: name || sender, text: clip(data.text), raw: false };
  }
  // On one line, with spaces where it may wrap; a line break inside a string is escaped by JSON.
  const json = (JSON.stringify(data, null, 1) ?? "null").replace(/\n\s*/g, " ");
  return { name: sender, text: clip(json), raw: true };
}

const clip = (text) => (text.length > LENGTH ? `${text.slice(0, LENGTH)}…` : text);

const hue = (name) =>
  [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 7) % HUES;

function element(tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

export class Transcript {
  /** Messages heard and not drawn, at most `LINES`. */
  #heard = [];
  #drawing = 0;
  /** Own lines on their way and their text; the client bounds them. @type {Map<Element, string>} */
  #waiting = new Map();
  /** The last line drawn, which the next may continue. */
  #last = null;
  #atEnd = true;
  #below = 0;
  /** Messages that came while the page was hidden. */
  unread = 0;
  onchange = () => {};

  /** @param {HTMLElement} log scrolls @param {HTMLElement} lines @param {HTMLElement} newer */
  constructor(log, lines, newer) {
    Object.assign(this, { log, lines, newer });
    log.addEventListener("scroll", () => {
      this.#atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
      if (this.#atEnd) this.#showBelow(0);
    }, { passive: true });
    const keep = new ResizeObserver(() => this.#atEnd && this.toNewest());
    keep.observe(log);
    keep.observe(lines);
  }

  clear() {
    this.lines.replaceChildren();
    this.log.setAttribute("aria-busy", "true");
    this.#heard = [];
    this.#waiting.clear();
    this.#last = null;
    this.unread = 0;
    this.toNewest();
  }

  /** The history is in: from here on new lines are read out. */
  ready() {
    this.#later(() => {
      this.log.removeAttribute("aria-busy");
      if (!this.lines.children.length) {
        this.lines.append(element("p", "empty", "Nobody has spoken here yet."));
      }
    });
  }

  /** @param {any} message @param {boolean} own */
  add(message, own) {
    this.#heard.push({ message, own });
    if (this.#heard.length > LINES) this.#heard.shift();
    this.#drawing ||= setTimeout(() => this.#draw(), DRAW);
  }

  /** A remark between the lines. @param {string} text @param {string} [kind] */
  aside(text, kind = "") {
    this.#draw();
    this.#append(element("p", `aside ${kind}`, text));
    this.#last = null;
    this.#settle();
  }

  /** One's own words on their way. @param {string} name @param {string} text */
  addPending(name, text) {
    this.#draw();
    const line = this.#line({ name, text, time: Date.now(), own: true });
    line.classList.add("waiting", "first");
    this.#waiting.set(line, text);
    this.lines.querySelector(".empty")?.remove();
    this.lines.append(line);
    const fate = element("p", "fate", "Waiting to be sent…");
    const slow = setTimeout(() => line.append(fate), SLOW);
    this.#atEnd = true;
    this.#settle();
    return {
      // The line stays until the room itself repeats it, in its place among the others; if that is
      // among what was missed, it stays where it is.
      accepted: () => {
        clearTimeout(slow);
        fate.remove();
        line.classList.remove("waiting");
        setTimeout(() => this.#waiting.delete(line), ECHO);
      },
      failed: (error, again) => {
        clearTimeout(slow);
        this.#waiting.delete(line);
        fate.className = "fate failed";
        fate.textContent = `Not sent: ${error.message} `;
        const button = element("button", "link", "Edit");
        button.addEventListener("click", () => {
          line.remove();
          again();
        });
        fate.append(button);
        line.append(fate);
        this.#settle();
      },
    };
  }

  toNewest() {
    this.#atEnd = true;
    this.log.scrollTop = this.log.scrollHeight;
    this.#showBelow(0);
  }

  /** The page is looked at. */
  seen() {
    if (document.hidden) return;
    this.unread = 0;
    this.onchange();
  }

  #later(action) {
    setTimeout(action, DRAW * 2);
  }

  #draw() {
    clearTimeout(this.#drawing);
    this.#drawing = 0;
    const heard = this.#heard;
    if (!heard.length) return;
    this.#heard = [];
    this.lines.querySelector(".empty")?.remove();
    for (const { message, own } of heard) this.#drawOne(message, own);
    const fresh = heard.filter(({ message, own }) => !own && !message.replayed).length;
    if (!this.#atEnd) this.#showBelow(this.#below + fresh);
    if (document.hidden) this.unread += fresh;
    this.onchange();
    this.#settle();
  }

  #drawOne(message, own) {
    const { name, text, raw } = present(message);
    const time = message.time ?? Date.now();
    if (own) this.#arrived(text);
    const last = this.#last;
    const day = dayOf(time);
    const newDay = (last?.day ?? dayOf(Date.now())) !== day;
    if (newDay) this.#append(element("p", "aside", nameOfDay(time)));
    const line = this.#line({ name, text, raw, time, own, event: message.event });
    const speaker = `${own} ${name} ${message.from?.client}`;
    const goesOn = !newDay && last?.speaker === speaker && time - last.time <= GROUP;
    if (!goesOn) line.classList.add("first");
    this.#append(line);
    this.#last = { speaker, day, time };
  }

  /** Takes away the waiting line that this message was. */
  #arrived(text) {
    for (const [line, waiting] of this.#waiting) {
      if (waiting !== text) continue;
      this.#waiting.delete(line);
      return line.remove();
    }
  }

  #line({ name, text, raw = false, time, own, event }) {
    const line = element("div", own ? "line own" : `line hue-${hue(name)}`);
    const stamp = element("time", "", clock.format(time));
    stamp.dateTime = new Date(time).toISOString();
    const what = element("div", raw ? "what raw" : "what");
    if (event && event !== "chat") what.append(element("span", "event", clip(event)));
    what.append(text);
    line.append(element("span", "who", name), stamp, what);
    return line;
  }

  /** Puts a line after the last spoken one, before those on their way. */
  #append(node) {
    const [waiting = null] = this.#waiting.keys();
    this.lines.insertBefore(node, waiting);
    while (this.lines.children.length > LINES) this.lines.firstChild.remove();
  }

  #settle() {
    if (this.#atEnd) this.toNewest();
  }

  #showBelow(count) {
    this.#below = count;
    this.newer.hidden = count === 0;
    this.newer.textContent = count === 1 ? "1 new message" : `${count} new messages`;
  }
}
