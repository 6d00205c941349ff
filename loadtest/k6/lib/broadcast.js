// The load that most scenarios are: members of rooms, publishers of each room, a ledger for every
// membership. A scenario adds its thresholds, its profile the sizes.

import exec from 'k6/execution';
import { after, cancel } from './clock.js';
import { Publisher } from './publisher.js';
import { Subscriber } from './subscriber.js';
import { json, msgpack } from './codec.js';
import { load, run, urls } from './profile.js';
import { summarise, TREND_STATS } from './summary.js';

const CODECS = { json, msgpack };

/** What holds for any load. Every `count>0` and exact number keeps a run from passing empty. */
function thresholds(size) {
  const members = size.subscribers * size.rooms_per_subscriber;
  return {
    delivered: ['count>0'],
    published: ['count>0'],
    connected: ['count>0'],
    // A trend has no count to ask for; an empty one has a minimum of 0.
    delivery_latency: ['min>0'],
    ledgers_closed: [`count==${members}`],
    ledgers_open: ['count==0'],
    lost: ['count==0'],
    duplicates: ['count==0'],
    out_of_order: ['count==0'],
    offset_gaps: ['count==0'],
    unpublished: ['count==0'],
    unrecovered: ['count==0'],
    resets: ['count==0'],
    connect_failures: ['count==0'],
    'closes{code:1006}': ['count==0'],
  };
}

/**
 * The exports of a scenario file, its `size`, and the `limit` of a subscriber's time in seconds.
 * @param more thresholds by metric, in place of those above; null drops one
 */
export function broadcast(scenario, more = {}) {
  const size = load(scenario);
  const publishAt = size.ramp + size.settle;
  const limit = publishAt + size.seconds + size.grace;
  const merged = Object.assign(thresholds(size), more, size.thresholds);
  const kept = Object.entries(merged).filter(([, rules]) => rules !== null);
  const per = (count, size) => Math.ceil(count / size);
  const executor = { executor: 'per-vu-iterations', iterations: 1, gracefulStop: '5s' };
  const options = {
    scenarios: {
      subscribers: {
        ...executor,
        exec: 'subscribe',
        vus: per(size.subscribers, size.sockets_per_vu),
        maxDuration: `${limit + 10}s`,
      },
      publishers: {
        ...executor,
        exec: 'publish',
        vus: per(size.rooms * size.publishers, size.sockets_per_vu),
        startTime: `${publishAt}s`,
        maxDuration: `${size.seconds + size.grace + 10}s`,
      },
    },
    thresholds: Object.fromEntries(kept),
    summaryTrendStats: TREND_STATS,
    // No tag that names a connection: each would be a series of its own.
    systemTags: ['scenario', 'status'],
    tags: { profile: __ENV.PROFILE || 'small' },
  };
  return {
    size,
    limit,
    options,
    subscribe: () => subscribe(size, limit),
    publish: () => publish(size),
    handleSummary: summarise(scenario, size),
  };
}

export const roomName = (index) => `lt-${run}-${index}`;
export const publisherNames = (size, room) =>
  Array.from({ length: size.publishers }, (_, index) => `${room}.${index}`);
export const urlOf = (index) => urls[index % urls.length];
export const codecOf = (size, index) => CODECS[size.formats[index % size.formats.length]];

/** This VU's share of `count` things. */
function share(size, count) {
  const first = exec.scenario.iterationInTest * size.sockets_per_vu;
  const last = Math.min(first + size.sockets_per_vu, count);
  return Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index);
}

/** Runs this VU's subscribers until their ledgers are complete or the time is up. */
function subscribe(size, limit) {
  const mine = share(size, size.subscribers);
  const subscribers = [];
  const timers = [];
  let running = mine.length;
  const done = () => {
    running -= 1;
    if (running === 0) timers.forEach(cancel);
  };
  for (const index of mine) {
    const rooms = {};
    for (let nth = 0; nth < size.rooms_per_subscriber; nth += 1) {
      const room = (index * size.rooms_per_subscriber + nth) % size.rooms;
      rooms[roomName(room)] = publisherNames(size, room);
    }
    const wait = (size.ramp * 1000 * index) / size.subscribers;
    timers.push(after(wait, () => {
      const subscriber = new Subscriber({
        url: urlOf(index),
        codec: codecOf(size, index),
        run,
        rooms,
        done,
        backoffCap: size.backoff_cap,
      });
      subscribers.push(subscriber);
      if (size.churn > 0) churn(size, subscriber, timers);
    }));
  }
  timers.push(after(limit * 1000, () => subscribers.forEach((each) => each.finish())));
}

/** Has a subscriber leave and come back, again and again, at random times. */
function churn(size, subscriber, timers) {
  const wait = (0.5 + Math.random()) * size.churn * 1000;
  timers.push(after(wait, () => {
    if (subscriber.ended) return;
    subscriber.connection.churn();
    churn(size, subscriber, timers);
  }));
}

/** Runs this VU's publishers until all they made is published or the time is up. */
function publish(size) {
  const mine = share(size, size.rooms * size.publishers);
  let running = mine.length;
  let timer = null;
  const publishers = mine.map((index) => {
    const room = Math.floor(index / size.publishers);
    return new Publisher({
      url: urlOf(index),
      codec: codecOf(size, index),
      run,
      room: roomName(room),
      name: publisherNames(size, room)[index % size.publishers],
      rate: size.rate,
      seconds: size.seconds,
      bytes: size.bytes,
      backoffCap: size.backoff_cap,
      done: () => {
        running -= 1;
        if (running === 0) cancel(timer);
      },
    });
  });
  const giveUp = () => publishers.forEach((each) => each.finish());
  timer = after((size.seconds + size.grace) * 1000, giveUp);
}
