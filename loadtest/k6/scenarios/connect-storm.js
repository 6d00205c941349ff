// Everybody at once, as after a node was lost: how long until each is in its room, and is any
// turned away. The few messages that follow prove that every one of them is really there.

import { broadcast } from '../lib/broadcast.js';

const test = broadcast('connect-storm', { closes: ['count==0'], errors: ['count==0'] });

export const { options, subscribe, publish, handleSummary } = test;
