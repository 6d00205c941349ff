-- Publishes into a room of Fanfare from within Redis: by FCALL, as one command of a transaction
-- (MULTI … EXEC) that stores what the message tells of. Both are done, or neither.
--
--   FCALL fanfare_publish 1 fanfare:{ROOM} DATA [EVENT [KEY]]
--
-- DATA is JSON, which the members get as it is. EVENT names what kind of message it is. With a KEY
-- a second call publishes nothing, and answers like the first. Answers EPOCH:OFFSET, the message's
-- place in the room's log, or nothing where the room keeps none.
-- A library finds no global while it is loaded, `string` neither, so each function asks anew.

local SPACE = '[^ \t\r\n]'

-- Answers where the JSON value ends that begins at a place, or nothing where none does.
local function value_end(text, start, depth)
  local find, sub, byte = string.find, string.sub, string.byte
  local at = find(text, SPACE, start)
  local first = at and sub(text, at, at)
  if first == '"' then
    at = at + 1
    while true do
      at = find(text, '[%z\1-\31"\\]', at)
      if not at or byte(text, at) < 32 then
        return nil
      elseif byte(text, at) == 34 then
        return at
      elseif find(text, '^["\\/bfnrt]', at + 1) then
        at = at + 2
      elseif find(text, '^u%x%x%x%x', at + 1) then
        at = at + 6
      else
        return nil
      end
    end
  end
  if first == '{' or first == '[' then
    local close = first == '{' and '}' or ']'
    local last = find(text, SPACE, at + 1)
    if last and sub(text, last, last) == close then
      return last
    end
    if depth == 0 then
      return nil
    end
    repeat
      if first == '{' then
        at = find(text, SPACE, at + 1)
        at = at and byte(text, at) == 34 and value_end(text, at, 0)
        at = at and find(text, SPACE, at + 1)
        if not at or sub(text, at, at) ~= ':' then
          return nil
        end
      end
      at = value_end(text, at + 1, depth - 1)
      at = at and find(text, SPACE, at + 1)
      local mark = at and sub(text, at, at)
    until mark ~= ','
    return at and sub(text, at, at) == close and at or nil
  end
  for _, word in ipairs({ 'true', 'false', 'null' }) do
    if at and sub(text, at, at + #word - 1) == word then
      return at + #word - 1
    end
  end
  local _, last = find(text, '^-?%d+', at or #text + 1)
  if not last or find(text, '^-?0%d', at) then
    return nil
  end
  local _, fraction = find(text, '^%.%d+', last + 1)
  last = fraction or last
  local _, exponent = find(text, '^[eE][+-]?%d+', last + 1)
  return exponent or last
end

local function is_json(text)
  local last = value_end(text, 1, 128)
  return last and not string.find(text, SPACE, last + 1)
end

-- What the characters beyond ASCII are made of in UTF-8.
local SEQUENCES = {
  '^[\194-\223][\128-\191]',
  '^\224[\160-\191][\128-\191]',
  '^[\225-\236\238\239][\128-\191][\128-\191]',
  '^\237[\128-\159][\128-\191]',
  '^\240[\144-\191][\128-\191][\128-\191]',
  '^[\241-\243][\128-\191][\128-\191][\128-\191]',
  '^\244[\128-\143][\128-\191][\128-\191]',
}

local function is_text(text)
  local at = string.find(text, '[\128-\255]')
  while at do
    local last
    for _, sequence in ipairs(SEQUENCES) do
      local _, stop = string.find(text, sequence, at)
      last = last or stop
    end
    if not last then
      return false
    end
    at = string.find(text, '[\128-\255]', last + 1)
  end
  return true
end

-- The envelope of a publication without a publisher, in MessagePack.
local function enveloped(event, data)
  local now = redis.call('TIME')
  local size = #data
  local head
  if size < 256 then
    head = '\196' .. string.char(size)
  elseif size < 65536 then
    head = '\197' .. string.char(math.floor(size / 256), size % 256)
  else
    local high = math.floor(size / 65536)
    head = '\198' .. string.char(math.floor(high / 256), high % 256, math.floor(size / 256) % 256, size % 256)
  end
  local fields = event == '' and '\131' or '\132'
  local named = event == '' and '' or '\161e' .. cmsgpack.pack(event)
  local time = cmsgpack.pack(now[1] * 1000 + math.floor(now[2] / 1000))
  return '\146\1' .. fields .. '\161t' .. time .. named .. '\161k\0\161d' .. head .. data
end

-- Which run of the server this is, as the nodes see it.
local function run_of_server()
  local process = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local replication = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  return string.sub(process, 1, 16) .. string.sub(replication, 1, 16)
end

local function rule_of(room)
  for _, rule in ipairs(RULES) do
    local prefix, suffix = rule[1], rule[2]
    if not suffix and room == prefix then
      return rule
    end
    if
      suffix
      and #room >= #prefix + #suffix
      and string.sub(room, 1, #prefix) == prefix
      and string.sub(room, #room - #suffix + 1) == suffix
    then
      return rule
    end
  end
end

local function refused(why)
  return redis.error_reply('ERR fanfare: ' .. why)
end

local function publish(keys, args)
  local channel, data, event, key = keys[1], args[1], args[2] or '', args[3] or ''
  local room = #keys == 1 and string.match(channel, '^fanfare:{(.+)}$')
  if not room then
    return refused('give one key, which is fanfare:{ROOM}')
  end
  -- A leading `}` would end the part that decides on the slot, and stands there as this.
  room = string.gsub(room, '^\29', '}')
  if #room > 255 or not is_text(room) or string.find(room, '[%z\1-\31\127]') or string.find(room, '\194[\128-\159]') then
    return refused('room: not a name; give 1 to 255 bytes of text without control characters')
  end
  if not data or #args > 3 then
    return refused('give DATA, and then EVENT and KEY if you like')
  end
  if #data > MAX_DATA then
    return refused('data: ' .. #data .. ' bytes; at most ' .. MAX_DATA .. ' are allowed')
  end
  if not is_text(data) or not is_json(data) then
    return refused('data: not JSON')
  end
  if #event > 255 or #key > 255 or not is_text(event) or not is_text(key) then
    return refused('event and key: give at most 255 bytes of text')
  end
  local rule, envelope = rule_of(room), enveloped(event, data)
  local _, _, size, ttl, meta_ttl = unpack(rule)
  if size == 0 then
    redis.call(COMMAND, channel, ' ' .. envelope)
    return false
  end
  local names = { channel .. ':meta', channel .. ':log' }
  if key ~= '' then
    names[3] = channel .. ':key:' .. string.gsub(key, '[%%}]', { ['%'] = '%25', ['}'] = '%7D' })
  end
  local run = run_of_server()
  local now = redis.call('TIME')
  local fresh = string.sub(redis.sha1hex(run .. channel .. now[1] .. now[2]), 1, 16)
  local position = append(names, { size, ttl, meta_ttl, '1', fresh, run, COMMAND, channel, envelope })
  return string.sub(position, 1, 16) .. ':' .. string.sub(position, 17)
end
