-- Renews a node's lease, or gives it a new one, and ends those that were not renewed in time.
--
-- KEYS  leases, ended, watch
-- ARGV  the node's lease (or nothing), a fresh one, how long it holds, how long all may be silent,
--       how long somebody must have been heard before a lease is ended, how long ended ones are
--       remembered, TTL of it all (milliseconds)
-- Answers the node's lease now, whether leases are being ended, those that hold, those that ended.
--
-- leases and ended are sorted sets of leases, by when they end and ended. watch tells when a node
-- was last seen, and since when there always was one. An end is final: a node that was thought
-- dead is given another lease.
local leases, ended, watch = unpack(KEYS)
local lease, fresh, life, silence, settle, memory, ttl = unpack(ARGV)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local since, seen = unpack(redis.call('HMGET', watch, 'since', 'seen'))
if not seen or now - seen > tonumber(silence) then
  -- Nobody was heard: this server was out of reach, or lost what it knew. Everyone is given time
  -- to come back before anyone is taken for dead.
  since = now
end
redis.call('HSET', watch, 'since', since, 'seen', now)

if lease == '' or not redis.call('ZSCORE', leases, lease) then
  lease = fresh
end
redis.call('ZADD', leases, now + life, lease)

local settled = now - since >= tonumber(settle)
if settled then
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
    redis.call('ZREM', leases, gone)
    redis.call('ZADD', ended, now, gone)
  end
end
redis.call('ZREMRANGEBYSCORE', ended, '-inf', now - memory)

for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ttl)
end
return {
  lease,
  settled and 1 or 0,
  redis.call('ZRANGE', leases, 0, -1),
  redis.call('ZRANGE', ended, 0, -1),
}
