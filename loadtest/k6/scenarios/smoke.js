// Does it work at all: a few members in both formats, every message, no connection lost.

import { broadcast } from '../lib/broadcast.js';

const test = broadcast('smoke', { closes: ['count==0'], errors: ['count==0'] });

export const { options, subscribe, publish, handleSummary } = test;
