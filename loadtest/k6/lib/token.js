// A token for each connection, where the nodes ask for one: its user's own, good for all rooms.

import crypto from 'k6/crypto';
import encoding from 'k6/encoding';

/** The secret that the nodes check tokens with; empty where they ask for none. */
const SECRET = __ENV.SECRET || '';
/** How long one is good, in seconds: longer than a run. */
const LIFE = 24 * 3600;

const part = (value) => encoding.b64encode(JSON.stringify(value), 'rawurl');

/** Signs a token of a user by HS256. */
export function sign(secret, user, nowSeconds) {
  const claims = {
    sub: user,
    iat: nowSeconds,
    exp: nowSeconds + LIFE,
    rooms: { '*': ['join', 'publish', 'history', 'presence'] },
  };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${crypto.hmac('sha256', secret, signed, 'base64rawurl')}`;
}

let users = 0;

/** What a socket is opened with: a token of a user that no other connection has. */
export function credentials() {
  if (!SECRET) return {};
  users += 1;
  const token = sign(SECRET, `k6-${__VU}-${users}`, Math.floor(Date.now() / 1000));
  return { headers: { Authorization: `Bearer ${token}` } };
}
