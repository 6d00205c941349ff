// The library's own tests: a ledger that miscounts or a clock that lies would make every run lie.

import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { setTimeout, clearTimeout } from 'k6/timers';
import { after, now } from '../lib/clock.js';
import { json, msgpack } from '../lib/codec.js';
import { Ledger } from '../lib/ledger.js';

const TESTS = {
  'a complete ledger has lost nothing': () => {
    const ledger = entered([1, 2, 3], 3);
    return ledger.complete && ledger.delivered === 3 && ledger.lost === 0;
  },
  'a gap is lost': () => {
    const ledger = entered([1, 4], 4);
    return ledger.closed && !ledger.complete && ledger.lost === 2;
  },
  'a first message that never came is lost': () => entered([2, 3], 3).lost === 1,
  'a late message is out of order and not lost': () => {
    const ledger = entered([1, 3, 2], 3);
    return ledger.complete && ledger.outOfOrder === 1 && ledger.duplicates === 0;
  },
  'a message that comes twice is a duplicate': () => {
    const ledger = entered([1, 2, 2, 1, 3], 3);
    return ledger.duplicates === 2 && ledger.delivered === 3;
  },
  'a late message that comes twice is one of each': () => {
    const ledger = entered([1, 3, 2, 2], 3);
    return ledger.duplicates === 1 && ledger.outOfOrder === 1;
  },
  'without an end marker nothing is proved': () => !entered([1, 2, 3]).closed,
  'every publisher has to end': () => {
    const ledger = new Ledger('r', ['a', 'b']);
    ledger.enter({ run: 'r', publisher: 'a', seq: 1, end: true });
    const half = ledger.closed;
    ledger.enter({ run: 'r', publisher: 'b', seq: 1, end: true });
    return !half && ledger.complete;
  },
  'what another run published is foreign': () => {
    const ledger = new Ledger('r', ['a']);
    ledger.enter({ run: 'other', publisher: 'a', seq: 1 });
    ledger.enter({ run: 'r', publisher: 'z', seq: 1 });
    ledger.enter(null);
    return ledger.foreign === 3 && ledger.delivered === 0;
  },
  'MessagePack is written as the specification says': () =>
    hex(msgpack.encode({ a: 1, b: [true, null, -1.5], c: 'é', d: undefined })) ===
    '83a16101a16293c3c0cbbff8000000000000a163a2c3a9',
  'MessagePack reads back what it wrote': () =>
    VALUES.every((value) => same(msgpack.decode(msgpack.encode(value)), value)),
  'MessagePack reads every width': () =>
    Object.entries(WIDTHS).every(([bytes, value]) => same(msgpack.decode(unhex(bytes)), value)),
  'JSON reads back what it wrote': () =>
    VALUES.every((value) => same(json.decode(json.encode(value)), value)),
  'the clock is the wall clock to the millisecond': () => {
    const early = Date.now();
    const time = now();
    return time >= early - 0.1 && time <= Date.now() + 1.1;
  },
  'the clock knows fractions and never goes back': () => {
    const times = Array.from({ length: 1000 }, now);
    const rising = times.every((time, index) => index === 0 || time >= times[index - 1]);
    return rising && new Set(times).size > 900;
  },
};

const VALUES = [
  0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -32.5, 0.1,
  '', 'ü 🎺', 'x'.repeat(31), 'x'.repeat(32), 'x'.repeat(255), 'x'.repeat(70000), 'é'.repeat(9000),
  [], [1, [2, [3]]], Array.from({ length: 20 }, (_, index) => index), true, false, null,
  { type: 'join', since: { epoch: 'e', offset: 41 }, room: 'lobby' },
  Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`k${index}`, index])),
];

const WIDTHS = {
  cc80: 128, cd0100: 256, ce00010000: 65536, cf0000000100000000: 2 ** 32,
  ff: -1, e0: -32, d080: -128, d18000: -32768, d280000000: -(2 ** 31), ca3fc00000: 1.5,
  d90161: 'a', da000161: 'a', db0000000161: 'a', dc000101: [1], dd0000000101: [1],
  de0001a16101: { a: 1 }, df00000001a16101: { a: 1 },
};

const passed = new Counter('passed');

export const options = {
  thresholds: { checks: ['rate==1'], passed: [`count==${Object.keys(TESTS).length + 1}`] },
};

export default function run() {
  for (const name of Object.keys(TESTS)) count(check(null, { [name]: TESTS[name] }));
  timers();
}

/** What k6's timers get wrong: after a cancelled one, the next goes off at its time. */
function timers() {
  const began = now();
  const first = setTimeout(() => {}, 50);
  after(300, () => {
    const name = 'a timer does not fire early because another was cancelled';
    count(check(now() - began, { [name]: (waited) => waited >= 299 }));
  });
  clearTimeout(first);
}

const count = (good) => passed.add(good ? 1 : 0);

function entered(seqs, last) {
  const ledger = new Ledger('r', ['a']);
  for (const seq of seqs) ledger.enter({ run: 'r', publisher: 'a', seq, end: seq === last });
  return ledger;
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const hex = (buffer) =>
  Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, '0')).join('');

const unhex = (text) =>
  new Uint8Array(text.match(/../g).map((byte) => parseInt(byte, 16))).buffer;
