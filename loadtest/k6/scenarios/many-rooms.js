// Many rooms with a few members each, every connection in several: the cost is in the rooms, not in
// the members.

import { broadcast } from '../lib/broadcast.js';

const test = broadcast('many-rooms', { closes: ['count==0'], errors: ['count==0'] });

export const { options, subscribe, publish, handleSummary } = test;
