// What a run ends with: a verdict, the reasons, the figures; for people on the terminal and as
// JSON for scripts.
//
// pass: every threshold held. fail: the broker broke one. invalid: the generator was not fit to
// judge (it lagged, or made less load than the profile says), so the run says nothing either way.

import { profileName, run, summaryFile, urls } from './profile.js';

export const TREND_STATS = ['count', 'min', 'avg', 'p(50)', 'p(95)', 'p(99)', 'p(99.9)', 'max'];

const COUNTS = [
  'published', 'delivered', 'lost', 'duplicates', 'out_of_order', 'offset_gaps', 'ledgers_closed',
  'ledgers_open', 'connected', 'connect_failures', 'closes', 'errors', 'recovered', 'unrecovered',
  'resets', 'publish_retries', 'unpublished',
];
const TIMES = [
  'delivery_latency', 'publish_ack', 'connect_time', 'outage_time', 'recovered_latency',
  'generator_delay', 'publish_lag',
];

/** The `handleSummary` of a scenario. */
export function summarise(scenario, size) {
  return (data) => {
    const failures = brokenThresholds(data.metrics);
    const unfit = generatorFaults(data.metrics, size);
    const verdict = unfit.length > 0 ? 'invalid' : failures.length > 0 ? 'fail' : 'pass';
    const report = {
      scenario,
      profile: profileName,
      run,
      urls,
      verdict,
      failures,
      invalid: unfit,
      seconds: data.state.testRunDurationMs / 1000,
      size,
      counts: Object.fromEntries(COUNTS.map((name) => [name, count(data.metrics, name)])),
      times: Object.fromEntries(
        TIMES.filter((name) => count(data.metrics, name) > 0)
          .map((name) => [name, data.metrics[name].values]),
      ),
      labelled: labelled(data.metrics),
    };
    const out = { stdout: page(report) };
    if (summaryFile) out[summaryFile] = `${JSON.stringify(report, null, 2)}\n`;
    return out;
  };
}

function count(metrics, name) {
  return metrics[name] ? metrics[name].values.count : 0;
}

function brokenThresholds(metrics) {
  const broken = [];
  for (const name of Object.keys(metrics).sort()) {
    for (const [rule, { ok }] of Object.entries(metrics[name].thresholds || {})) {
      const stat = /^[a-z]+(\([\d.]+\))?/.exec(rule)[0];
      const value = metrics[name].values[stat];
      if (!ok) broken.push(`${name}: ${rule}, was ${figure(value)}`);
    }
  }
  return broken;
}

/** Why the generator was not fit to judge; empty if it was. */
function generatorFaults(metrics, size) {
  const faults = [];
  for (const [name, most] of Object.entries(size.health)) {
    const values = metrics[name] && metrics[name].values;
    if (values && values['p(99)'] > most) {
      faults.push(`${name}: p(99) ${figure(values['p(99)'])} ms, at most ${most} is fit to judge`);
    }
  }
  for (const name of ['publish_skipped', 'joined_late', 'foreign']) {
    const times = count(metrics, name);
    if (times > 0) faults.push(`${name}: ${times}, none is fit to judge`);
  }
  return faults;
}

/** Submetrics that thresholds made, such as closes{code:1006}, where they saw anything. */
function labelled(metrics) {
  const names = Object.keys(metrics).filter((name) => /^(closes|errors)\{/.test(name));
  return Object.fromEntries(names.map((name) => [name, count(metrics, name)]));
}

function figure(value) {
  if (value === undefined) return 'nothing';
  return Number.isInteger(value) ? String(value) : value.toFixed(2);
}

function page(report) {
  const title = `${report.scenario} (${report.profile}) ${report.verdict.toUpperCase()}`;
  const lines = ['', title, '='.repeat(title.length)];
  for (const reason of report.invalid) lines.push(`  unfit  ${reason}`);
  for (const reason of report.failures) lines.push(`  broken ${reason}`);
  const took = `${report.seconds.toFixed(1)} s`;
  lines.push('', `  ${took}, run ${report.run}, ${report.urls.join(' ')}`, '');
  for (const name of COUNTS) {
    lines.push(`  ${name.padEnd(18)}${String(report.counts[name]).padStart(10)}`);
  }
  const stats = TREND_STATS.filter((stat) => stat !== 'count');
  const row = (name, cells) => {
    lines.push(`  ${name.padEnd(18)}${cells.map((cell) => cell.padStart(10)).join('')}`);
  };
  lines.push('');
  row('ms', stats);
  for (const [name, values] of Object.entries(report.times)) {
    row(name, stats.map((stat) => figure(values[stat])));
  }
  return `${lines.join('\n')}\n\n`;
}
