-- space_by_owner.lua ROOT [PROPERTY]
--
-- What the volumes of ROOT and below take, summed up by the value of a user property, by default ops:owner. Inherited
-- values count; volumes without one are under "-". Changes nothing: run it with `coppice program -n`.
--
-- Returns, for each owner, {volumes = COUNT, used = BYTES, snapshots = BYTES}: `used` without snapshots, and what only
-- snapshots keep.
--
--   coppice program -n -j tank space_by_owner.lua tank

local args = ...
local root, property = args.argv[1], args.argv[2] or "ops:owner"
if not root then error("usage: space_by_owner.lua ROOT [PROPERTY]", 0) end

local owners = {}
local function count(name)
  if pool.get(name, "type") ~= "volume" then return end
  local owner = pool.get(name, property) or "-"
  local sum = owners[owner] or {volumes = 0, used = 0, snapshots = 0}
  sum.volumes = sum.volumes + 1
  sum.used = sum.used + tonumber((pool.get(name, "usedbydataset")))
  sum.snapshots = sum.snapshots + tonumber((pool.get(name, "usedbysnapshots")))
  owners[owner] = sum
end

count(root)
for name in pool.list.descendants(root) do count(name) end
return owners
