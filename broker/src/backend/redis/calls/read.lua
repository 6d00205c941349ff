-- Reads where a room's log stands and some of what it holds, in one look. For a node with members,
-- it begins the log of a room that has none, and renews its life; else it leaves nothing behind.
--
-- KEYS  meta, log
-- ARGV  log size, whether a node with members reads ('1' or '0'), meta TTL of a log with publications
--       and of one without (milliseconds), a fresh epoch, the server's run, limit,
--       [how many bytes at most (but one entry at least), how many each counts for beside its own,
--       epoch and offset of the last publication known; without them the newest are read]
-- Answers the position (16 digits of epoch, then the offset; nothing where there is no log), the
-- offset after which entries were looked for (or -1 where the position asked for is not of this
-- log), the entries, and whether some were left out for their bytes (1 or 0). Members are given
-- those of another log, too, from the last offset on up to which that can be the one they know.
--
-- Fields of meta: see publish.lua.
local meta, log = KEYS[1], KEYS[2]
local size, members, meta_ttl, quiet_ttl, fresh, run, limit, most, each, asked, after = unpack(ARGV)

local epoch, last, previous, holds_to = unpack(redis.call('HMGET', meta, 'e', 'o', 'p', 'f'))
if members == '1' then
  if not epoch then
    -- First what a full server refuses: after another write it would not.
    redis.call('HSET', meta, 'e', fresh, 'o', '0', 's', run)
    redis.call('DEL', log)
    epoch, last = fresh, '0'
  end
  local renewed = redis.pcall('PEXPIRE', meta, last == '0' and quiet_ttl or meta_ttl)
  if type(renewed) == 'table' and not string.find(renewed.err, 'MISCONF', 1, true) then
    -- A server that cannot save may still be read.
    return renewed
  end
elseif not epoch then
  return { '', -1, {}, 0 }
end

local newest = tonumber(last)
-- XADD trims in whole nodes of the stream: entries beyond `size` may still be there.
local floor = math.max(newest - size, 0)
local from, known
if not asked then
  from = math.max(newest - limit, floor)
elseif asked == epoch and tonumber(after) <= newest
  or asked == previous and tonumber(after) <= tonumber(holds_to) then
  from = tonumber(after)
  known = from
elseif members == '1' then
  -- Of an epoch that this log goes on from, what it has seen up to there is not new.
  from = asked == epoch and newest or asked == previous and tonumber(holds_to) or 0
  known = -1
else
  return { epoch .. last, -1, {}, 0 }
end

local at, left, bytes = math.max(from, floor) + 1, tonumber(limit), 0
local entries, cut = {}, 0
while left > 0 and cut == 0 and at <= newest do
  -- A few at a time: they may be large.
  local page = redis.call('XRANGE', log, string.format('%.0f-0', at), '+', 'COUNT', math.min(left, 32))
  if #page == 0 then
    break
  end
  for _, entry in ipairs(page) do
    if asked then
      bytes = bytes + #entry[2][2] + tonumber(each)
      if #entries > 0 and bytes > tonumber(most) then
        cut = 1
        break
      end
    end
    entries[#entries + 1] = entry
    left = left - 1
    at = tonumber(string.match(entry[1], '^%d+')) + 1
  end
end
return { epoch .. last, known or from, entries, cut }
