// What a run is told: its profile, its addresses, its name. Everything comes from the environment,
// which `run` fills; a scenario file never reads it itself.

const PROFILE = __ENV.PROFILE || 'small';

/**
 * This run's name: in its rooms and messages, so that runs never meet. Given from outside, since
 * every VU evaluates this file for itself and all must agree.
 */
export const run = __ENV.RUN;
if (!run) throw new Error('RUN is not set: `run` names each run, or give k6 -e RUN=anything-new');

/** WebSocket addresses; connection number i takes the i-th, from the start again after the last. */
export const urls = (__ENV.URLS || 'ws://127.0.0.1:8080/ws').split(',');

/** Where `/metrics` is, for the one scenario that has to look; may be empty. */
export const internals = (__ENV.INTERNALS || '').split(',').filter((url) => url !== '');

/** Where the machine-readable summary goes; nowhere if empty. */
export const summaryFile = __ENV.SUMMARY || '';

export const profileName = PROFILE;

/** What every load has unless its profile says otherwise. */
const DEFAULTS = {
  /** Rooms, and how many of them each subscriber joins. */
  rooms: 1,
  rooms_per_subscriber: 1,
  subscribers: 10,
  /** Publishers of each room, and each one's messages a second. */
  publishers: 1,
  rate: 10,
  /** How long they publish. */
  seconds: 10,
  /** Padding of each message. */
  bytes: 100,
  /** Wire formats, dealt out in turn to subscribers and publishers. */
  formats: ['json', 'msgpack'],
  /** Seconds over which subscribers connect, and the pause before the first message. */
  ramp: 2,
  settle: 2,
  /** Seconds after the last message until ledgers are closed as they are. */
  grace: 10,
  /** Mean seconds until a subscriber leaves and comes back; 0 is never. */
  churn: 0,
  /** Members that stop reading, where a scenario has them. */
  slow: 0,
  /** The longest wait before reconnecting, in milliseconds. */
  backoff_cap: 30000,
  sockets_per_vu: 25,
  /** Thresholds of this size of load, beside those that hold for any. */
  thresholds: {},
  /** Milliseconds that the generator may take, at p(99), before the run is invalid. */
  health: { generator_delay: 100, publish_lag: 250 },
};

/** The load of a scenario in the chosen profile. */
export function load(scenario) {
  const profile = JSON.parse(open(import.meta.resolve(`../profiles/${PROFILE}.json`)));
  if (!profile[scenario]) throw new Error(`profile ${PROFILE} has no ${scenario}`);
  const unknown = Object.keys(profile[scenario]).filter((key) => !(key in DEFAULTS));
  if (unknown.length > 0) throw new Error(`profile ${PROFILE}: ${scenario}: unknown ${unknown}`);
  const size = Object.assign({}, DEFAULTS, profile[scenario]);
  for (const [key, value] of Object.entries(JSON.parse(__ENV.OVERRIDES || '{}'))) {
    const [name, part] = key.split('.');
    if (!(name in DEFAULTS)) throw new Error(`--set ${key}: no such figure`);
    if (part) size[name] = Object.assign({}, size[name], { [part]: value });
    else size[name] = value;
  }
  return size;
}
