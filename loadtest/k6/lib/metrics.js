// Every series that this suite adds to k6's own. Closed label sets, as on the server.

import { Counter, Trend } from 'k6/metrics';

// --- the broker: what thresholds judge ---

/** Messages that reached a subscriber, each once. */
export const delivered = new Counter('delivered');
/** Messages that a subscriber never got. */
export const lost = new Counter('lost');
/** Messages that a subscriber got again. */
export const duplicates = new Counter('duplicates');
/** Messages that a subscriber got after a later one of the same publisher. */
export const outOfOrder = new Counter('out_of_order');
/** Ledgers that hold every end marker. */
export const ledgersClosed = new Counter('ledgers_closed');
/** Ledgers that lack one when the time is up: what they miss is unknown. */
export const ledgersOpen = new Counter('ledgers_open');
/** Offsets that did not follow on the one before on a live connection. */
export const offsetGaps = new Counter('offset_gaps');
/** From the publisher's wish to publish to the subscriber's socket, in milliseconds. */
export const deliveryLatency = new Trend('delivery_latency', true);
/** The same for what a recovery replayed. */
export const recoveredLatency = new Trend('recovered_latency', true);

/** Messages accepted by the broker. */
export const published = new Counter('published');
/** From sending a publish to its reply. */
export const publishAck = new Trend('publish_ack', true);
/** Publishes that were sent again, with the same key. */
export const publishRetries = new Counter('publish_retries');
/** Messages without an answer when the time is up. */
export const unpublished = new Counter('unpublished');

/** Connections opened, the repeated ones too. */
export const connected = new Counter('connected');
/** From opening a socket to the welcome. */
export const connectTime = new Trend('connect_time', true);
/** Handshakes that failed, by `kind`: refused, status, timeout, other. */
export const connectFailures = new Counter('connect_failures');
/** Connections that ended other than by this client, by `code`. */
export const closes = new Counter('closes');
/** Error replies, by `code`. */
export const errors = new Counter('errors');
/** From a lost connection to the room being whole again. */
export const outageTime = new Trend('outage_time', true);
/** Rejoins that replayed everything missed, and those where the server could not prove it. */
export const recovered = new Counter('recovered');
export const unrecovered = new Counter('unrecovered');
/** Rooms whose log was lost. */
export const resets = new Counter('resets');

// --- the generator: what makes a run invalid ---

/** From reading a message off the socket to this program seeing it. */
export const generatorDelay = new Trend('generator_delay', true);
/** From a publish being due to it being made. */
export const publishLag = new Trend('publish_lag', true);
/** Publishes given up since too many waited: the load was less than the profile says. */
export const publishSkipped = new Counter('publish_skipped');
/** Subscribers that joined after the first message: their ledgers would begin too late. */
export const joinedLate = new Counter('joined_late');
/** Messages of another run in this run's rooms. */
export const foreign = new Counter('foreign');
