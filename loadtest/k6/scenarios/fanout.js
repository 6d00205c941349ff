// One room that all are in: every message is written to every member.

import { broadcast } from '../lib/broadcast.js';

const test = broadcast('fanout', { closes: ['count==0'], errors: ['count==0'] });

export const { options, subscribe, publish, handleSummary } = test;
