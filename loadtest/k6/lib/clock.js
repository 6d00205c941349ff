// One clock for the whole run: milliseconds since 1970 with microseconds behind the point.
//
// Date.now() knows whole milliseconds only, and loses half of one on average; the run's own
// stopwatch (exec.instance) is fine and monotonic, and every VU reads the same one. calibrate()
// finds the instant at which Date.now() ticks and so where the stopwatch began. An event's
// `timestamp` is on the same scale: it is taken when the bytes were read, before the event waits
// for this VU's turn. Costs 8 µs a call.

import exec from 'k6/execution';
import { setTimeout, clearTimeout } from 'k6/timers';

/** Ticks looked at; the smallest difference is the one that was least interrupted. */
const TICKS = 5;

let origin = null;

/** Where the stopwatch began. Spins for a few milliseconds, once a VU. */
export function calibrate() {
  let before = Date.now();
  let best = Infinity;
  for (let ticks = 0; ticks < TICKS; ) {
    const wall = Date.now();
    if (wall === before) continue;
    // Late by whatever interrupted this loop, never early: the largest start is the truest.
    best = Math.min(best, exec.instance.currentTestRunDuration - wall);
    before = wall;
    ticks += 1;
  }
  origin = -best;
}

export function now() {
  if (origin === null) calibrate();
  return origin + exec.instance.currentTestRunDuration;
}

/**
 * Calls `act` once, `wait` milliseconds from now; answers what `cancel` takes.
 *
 * k6's own clearTimeout leaves the alarm of the timer that it removed: the next timer in line then
 * fires at that instant, seconds early. Whoever is called too soon waits for the rest.
 */
export function after(wait, act) {
  const timer = { id: null };
  const due = now() + wait;
  const fire = () => {
    const left = due - now();
    if (left > 0.1) timer.id = setTimeout(fire, left);
    else act();
  };
  timer.id = setTimeout(fire, Math.max(0, wait));
  return timer;
}

export function cancel(timer) {
  if (timer) clearTimeout(timer.id);
}
