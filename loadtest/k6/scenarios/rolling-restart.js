// Nodes restarted one after the other behind a balancer, with clients that come back. `run`
// restarts its own nodes; against --url, restart yours (kubectl rollout restart) meanwhile.

import { broadcast } from '../lib/broadcast.js';

const test = broadcast('rolling-restart', {
  // Each of them was moved away and had everything it missed replayed.
  recovered: ['count>0'],
  'closes{code:1012}': ['count>0'],
  outage_time: ['p(99)<5000'],
});

export const { options, subscribe, publish, handleSummary } = test;
