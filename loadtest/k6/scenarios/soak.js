// A steady load for long, with clients that come and go: what leaks, drifts or fills up shows.
// `run` also compares the nodes' memory early and late.

import { broadcast } from '../lib/broadcast.js';

const test = broadcast('soak', { closes: ['count==0'], recovered: ['count>0'] });

export const { options, subscribe, publish, handleSummary } = test;
