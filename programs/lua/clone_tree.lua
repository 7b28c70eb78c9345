-- clone_tree.lua SOURCE SNAPSHOT TARGET [PROPERTY=VALUE]...
--
-- A test environment in one act: clones every volume below the group SOURCE to the same place below TARGET, which must not
-- be there yet. Groups are made anew, with the user properties set on them. If SOURCE's volumes have no snapshot of the
-- name SNAPSHOT, they all get it first, at one point in time. The properties are set on TARGET and reach what is below.
--
-- Returns {clones = COUNT, groups = COUNT, snapshot = NAME}.
--
--   coppice program tank clone_tree.lua tank/prod test-42 tank/test-42 ops:owner=qa

local args = ...
local argv = args.argv
local source, label, target = argv[1], argv[2], argv[3]
if not target then error("usage: clone_tree.lua SOURCE SNAPSHOT TARGET [PROPERTY=VALUE]...", 0) end
local properties = {}
for i = 4, #argv do
  local name, value = argv[i]:match("^([^=]+)=(.*)$")
  if not name then error("not a property: " .. argv[i], 0) end
  properties[name] = value
end

-- Fails the program, and with it all that it did, unless the code is 0. The message is the verb's own.
local function must(code, _, message)
  if code ~= 0 then error(message, 0) end
end

local volumes, groups = {}, {}
local function sort_in(name)
  local kind = pool.get(name, "type")
  table.insert(kind == "volume" and volumes or groups, name)
end
sort_in(source)
for name in pool.list.descendants(source) do sort_in(name) end

local missing = {}
for _, name in ipairs(volumes) do
  if not pool.exists(name .. "@" .. label) then missing[#missing + 1] = name .. "@" .. label end
end
if #missing > 0 then must(pool.sync.snapshot{names = missing}) end

local function place(name) return target .. name:sub(#source + 1) end

-- What was set on a group itself, not inherited.
local function own_properties(name)
  local own = {}
  for property, value, from in pool.list.user_properties(name) do
    if from == name then own[property] = value end
  end
  return own
end

for _, name in ipairs(groups) do
  local own = own_properties(name)
  if name == source then
    for property, value in pairs(properties) do own[property] = value end
  end
  must(pool.sync.create{place(name), properties = own})
end
for _, name in ipairs(volumes) do
  must(pool.sync.clone(name .. "@" .. label, place(name)))
end
return {clones = #volumes, groups = #groups, snapshot = label}
