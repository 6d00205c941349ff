// Redis stops and comes back with its data: connections stay, publishers are told to try again,
// members notice a delay and no gap. `run` stops its own Redis; against --url, stop yours.

import { broadcast } from '../lib/broadcast.js';

const test = broadcast('redis-outage', {
  closes: ['count==0'],
  // The proof that there was an outage.
  'errors{code:unavailable}': ['count>0'],
});

export const { options, subscribe, publish, handleSummary } = test;
