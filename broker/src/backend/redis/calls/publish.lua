-- Appends a publication to a room's log and hands it on, in one step: no other publication of
-- the room comes between the offset, the log and the channel.
--
-- KEYS  meta, log[, the idempotency key's record]
-- ARGV  log size, log TTL, meta TTL (milliseconds), whether both are to be given them ('1', or '0'
--       where they were not long ago), a fresh epoch, the server's run, the command that
--       publishes, channel, envelope
-- Answers the position: 16 digits of epoch, then the offset.
--
-- meta holds e(poch), o(ffset of the newest), s(erver run that the epoch belongs to), and of the
-- epoch before: p(revious) and f, up to which offset its positions hold in this one.
local meta, log, seen = KEYS[1], KEYS[2], KEYS[3]
local size, ttl, meta_ttl, renew, fresh, run, command, channel, envelope = unpack(ARGV)

if seen then
  local position = redis.call('GET', seen)
  if position then
    return position
  end
end

local epoch, last, of_run = unpack(redis.call('HMGET', meta, 'e', 'o', 's'))
if not epoch and redis.call('EXISTS', log) == 1 then
  redis.call('DEL', log)
end
local offset = string.format('%.0f', (last or 0) + 1)
-- First what can fail: a refused XADD leaves everything as it was. A full server refuses only the
-- first write of a script.
if not redis.call('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', size, offset .. '-0', 'e', envelope) then
  -- Nothing is there, and so nothing to trim.
  redis.call('XADD', log, offset .. '-0', 'e', envelope)
  renew = '1'
end
if of_run == run then
  redis.call('HSET', meta, 'o', offset)
elseif epoch then
  -- The server was restarted, or another took over: what it had not saved or replicated is gone,
  -- and offsets beyond `last` may have meant other publications. Positions up to it still hold.
  redis.call('HSET', meta, 'e', fresh, 'o', offset, 's', run, 'p', epoch, 'f', last)
  epoch = fresh
else
  redis.call('HSET', meta, 'e', fresh, 'o', offset, 's', run)
  epoch = fresh
end
if renew == '1' then
  redis.call('PEXPIRE', log, ttl)
  redis.call('PEXPIRE', meta, meta_ttl)
end

local position = epoch .. offset
if seen then
  redis.call('SET', seen, position, 'PX', ttl)
end
redis.call(command, channel, position .. ' ' .. envelope)
return position
