-- swap.lua LIVE NEXT [OLD]
--
-- Blue/green: the volume NEXT, a clone of a snapshot of LIVE, takes LIVE's place and name, and LIVE goes on as OLD (by
-- default LIVE-old). NEXT is promoted first, so that OLD depends on it and can be destroyed. Exports follow the volumes
-- under their new names. Either all of this happens or nothing.
--
-- Returns {live = NAME, old = NAME}. Swap back with: swap.lua LIVE OLD LIVE-new
--
--   coppice program tank swap.lua tank/web tank/web-next

local args = ...
local live, next_one, old = args.argv[1], args.argv[2], args.argv[3]
if not next_one then error("usage: swap.lua LIVE NEXT [OLD]", 0) end
old = old or live .. "-old"

-- Fails the program, and with it all that it did, unless the code is 0. The message is the verb's own.
local function must(code, _, message)
  if code ~= 0 then error(message, 0) end
end

-- After a swap the roles are the other way round: only what is still a clone of the other is promoted.
local origin = pool.get(next_one, "origin")
if origin and origin:match("^(.*)@") == live then
  must(pool.sync.promote(next_one))
end
must(pool.sync.rename(live, old))
must(pool.sync.rename(next_one, live))
return {live = live, old = old}
