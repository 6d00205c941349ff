-- Who is in a room: one change, a page, or the end of a lease's members, in one step.
--
-- KEYS  members, held, users
-- ARGV  what to do, and for
--   enter  command to announce by and channel (or nothing, not to announce), TTL (milliseconds),
--          client, lease, identity
--   exit   command and channel, client
--   page   after which client (or nothing), how many
--   reap   command and channel, lease, at most how many, up to how many in the room are announced
--          one by one
--
-- members is a sorted set without scores, and so sorted by client: 16 digits of client, 16 digits
-- of the lease of its node, then the identity in MessagePack. held finds the same by lease: lease,
-- then client. users counts the connections of each user.
--
-- What is announced: "member ", what happened, how many connections and users there are now, and
-- who it was (client and identity) or how many.
local members, held, users = unpack(KEYS)
local act = ARGV[1]

local function range(key, start, count)
  return redis.call('ZRANGEBYLEX', key, '[' .. start, '(' .. start .. '\255', 'LIMIT', 0, count)
end

local function user_of(member)
  -- Of most nothing is known: an empty map, of one byte.
  return #member > 33 and cmsgpack.unpack(string.sub(member, 33)).u
end

local function remove(client, member)
  redis.call('ZREM', members, member)
  redis.call('ZREM', held, string.sub(member, 17, 32) .. client)
  local user = user_of(member)
  if user and redis.call('HINCRBY', users, user, -1) < 1 then
    redis.call('HDEL', users, user)
  end
end

local function announce(what, who)
  local command, channel = ARGV[2], ARGV[3]
  if command == '' then
    return
  end
  local count, known = redis.call('ZCARD', members), redis.call('HLEN', users)
  redis.call(command, channel, table.concat({ 'member', what, count, known, who }, ' '))
end

local function identified(member)
  return string.sub(member, 1, 16) .. string.sub(member, 33)
end

if act == 'enter' then
  local ttl, client, lease, identity = unpack(ARGV, 4)
  local member = client .. lease .. identity
  local known = range(members, client, 1)[1]
  if known ~= member then
    if known then
      -- Under an earlier lease of its node, or as another user.
      remove(client, known)
    end
    redis.call('ZADD', members, 0, member)
    redis.call('ZADD', held, 0, lease .. client)
    local user = user_of(member)
    if user and redis.call('HINCRBY', users, user, 1) == 1 then
      redis.call('PEXPIRE', users, ttl)
    end
    if not known then
      announce('join', identified(member))
    end
  end
  -- To ask is cheaper than to renew.
  if redis.call('PTTL', members) < ttl / 2 then
    for _, key in ipairs(KEYS) do
      redis.call('PEXPIRE', key, ttl)
    end
  end
  return 1
end

if act == 'exit' then
  local client = ARGV[4]
  local known = range(members, client, 1)[1]
  if known then
    remove(client, known)
    announce('leave', identified(known))
  end
  return 1
end

if act == 'page' then
  local after, count = unpack(ARGV, 2)
  local leases, start = {}, '-'
  repeat
    local entry = redis.call('ZRANGEBYLEX', held, start, '+', 'LIMIT', 0, 1)[1]
    if entry then
      leases[#leases + 1] = string.sub(entry, 1, 16)
      start = '(' .. string.sub(entry, 1, 16) .. '\255'
    end
  until not entry
  start = after == '' and '-' or '(' .. after .. '\255'
  local page = redis.call('ZRANGEBYLEX', members, start, '+', 'LIMIT', 0, count)
  return { redis.call('ZCARD', members), redis.call('HLEN', users), leases, page }
end

local lease, most, each = unpack(ARGV, 4)
local gone = range(held, lease, most)
local few = redis.call('ZCARD', members) <= tonumber(each)
local left = 0
for _, entry in ipairs(gone) do
  local client = string.sub(entry, 17)
  local member = range(members, client, 1)[1]
  if member and string.sub(member, 17, 32) == lease then
    remove(client, member)
    left = left + 1
    if few then
      announce('leave', identified(member))
    end
  else
    redis.call('ZREM', held, entry)
  end
end
if not few and left > 0 then
  announce('gone', left)
end
return #gone
