-- Reads where a room's log stands and some of what it holds, in one look; begins the log of a
-- room that has none, and renews its life.
--
-- KEYS  meta, log
-- ARGV  log size, meta TTL (milliseconds), a fresh epoch, the server's run, limit,
--       [epoch and offset of the last publication known; without them the newest are read]
-- Answers the position (16 digits of epoch, then the offset), the offset after which entries
-- were looked for (or -1 where the position asked for is not of this log), and the entries.
--
-- Fields of meta: see publish.lua.
local meta, log = KEYS[1], KEYS[2]
local size, meta_ttl, fresh, run, limit, asked, after = unpack(ARGV)

local epoch, last, previous, holds_to = unpack(redis.call('HMGET', meta, 'e', 'o', 'p', 'f'))
if not epoch then
  redis.call('DEL', log)
  redis.call('HSET', meta, 'e', fresh, 'o', '0', 's', run)
  epoch, last = fresh, '0'
end
redis.call('PEXPIRE', meta, meta_ttl)

local newest = tonumber(last)
-- XADD trims in whole nodes of the stream: entries beyond `size` may still be there.
local floor = math.max(newest - size, 0)
local from
if not asked then
  from = math.max(newest - limit, floor)
elseif asked == epoch and tonumber(after) <= newest
  or asked == previous and tonumber(after) <= tonumber(holds_to) then
  from = tonumber(after)
else
  return { epoch .. last, -1, {} }
end

local entries = {}
if limit ~= '0' and from < newest then
  local start = string.format('%.0f', math.max(from, floor) + 1)
  entries = redis.call('XRANGE', log, start .. '-0', '+', 'COUNT', limit)
end
return { epoch .. last, from, entries }
