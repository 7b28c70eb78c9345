-- zfs.lua: the functions that programs written for `zfs program` call, over those of `pool`.
--
-- Groups appear as filesystems. Everything used here is taken before any program runs, so that a
-- program that changes the library changes it for itself alone.
local pool, seal = ...

local error, ipairs, pairs, select, type = error, ipairs, pairs, select, type
local find, format, match, sub = string.find, string.format, string.match, string.sub
local concat = table.concat
local EINVAL, EIO, EXDEV = EINVAL, EIO, EXDEV
local exists, get, list, note = pool.exists, pool.get, pool.list, pool.note

-- What a function takes: its name in messages, what its positional arguments are called (all of
-- them texts and required), and the types of those by name.
local function usage(spec)
  local shown = {}
  for i, name in ipairs(spec) do shown[i] = name end
  for i, each in ipairs(spec.named or {}) do
    shown[#spec + i] = format("[%s=%s]", each[1], each[2])
  end
  return format("%s(%s)", spec.name, concat(shown, ", "))
end

local function refuse(spec, why)
  error(format("%s: %s; usage: %s", spec.name, why, usage(spec)), 4)
end

local function check_text(spec, i, value)
  if type(value) ~= "string" then
    refuse(spec, format("argument %d is a %s, not a string", i, type(value)))
  end
end

-- The arguments of f(a, b) or f{a, b, name=value}: the positional ones, and a table of the others.
local function arguments(spec, ...)
  local count = select("#", ...)
  local first = ...
  if count ~= 1 or type(first) ~= "table" then
    if count ~= #spec then
      refuse(spec, format("%d arguments are expected, not %d", #spec, count))
    end
    for i = 1, count do check_text(spec, i, (select(i, ...))) end
    return nil, ...
  end
  local types, values = {}, {}
  for _, each in ipairs(spec.named or {}) do types[each[1]] = each[2] end
  for key, value in pairs(first) do
    if type(key) ~= "number" or key < 1 or key > #spec then
      if types[key] == nil then refuse(spec, "unknown argument '" .. format("%s", key) .. "'") end
      if type(value) ~= types[key] then
        refuse(spec, format("argument '%s' is a %s, not a %s", key, type(value), types[key]))
      end
      values[key] = value
    end
  end
  for i = 1, #spec do check_text(spec, i, first[i]) end
  return values, first[1], first[2], first[3]
end

local function pool_of(name)
  return match(name, "^[^/@#]*")
end

local function demand_own(spec, name)
  if pool_of(name) ~= pool.name then
    error(format("%s: %s is not in the pool of this program, %s", spec.name, name, pool.name), 3)
  end
end

-- ---------------------------------------------------------------- questions

local zfs = {list = {}, sync = {}, check = {}}

local exists_spec = {name = "zfs.exists", "dataset"}
function zfs.exists(...)
  local _, name = arguments(exists_spec, ...)
  demand_own(exists_spec, name)
  return exists(name)
end

local debug_spec = {name = "zfs.debug", "debug string"}
function zfs.debug(...)
  local _, text = arguments(debug_spec, ...)
  note(text)
end

local get_spec = {name = "zfs.get_prop", "dataset", "property"}
function zfs.get_prop(...)
  local _, name, property = arguments(get_spec, ...)
  demand_own(get_spec, name)
  local value, source = get(name, property)
  if value == nil then return end
  if property == "type" and value == "group" then value = "filesystem" end
  return value, source
end

local function lister(what, call, argument)
  local spec = {name = "zfs.list." .. what, argument}
  zfs.list[what] = function(...)
    local _, name = arguments(spec, ...)
    demand_own(spec, name)
    return call(name)
  end
end

lister("children", list.children, "filesystem | volume")
lister("snapshots", list.snapshots, "filesystem | volume")
lister("bookmarks", list.bookmarks, "filesystem | volume")
lister("clones", list.clones, "snapshot")
lister("holds", list.holds, "snapshot")
lister("user_properties", list.user_properties, "filesystem | volume | snapshot")
lister("properties", list.user_properties, "filesystem | volume | snapshot")
lister("system_properties", function(name)
  local names = {}
  for each in list.system_properties(name) do names[#names + 1] = each end
  return names
end, "filesystem | volume | snapshot")

-- ---------------------------------------------------------------- changes

-- Adds zfs.sync.NAME and zfs.check.NAME. `call` gets the verbs, the positional arguments and the
-- table of the named ones.
local function operation(name, spec, call)
  for _, mode in ipairs({"sync", "check"}) do
    local own = {name = format("zfs.%s.%s", mode, name), named = spec.named}
    for i, each in ipairs(spec) do own[i] = each end
    local verbs = pool[mode]
    zfs[mode][name] = function(...)
      local named, first, second, third = arguments(own, ...)
      if pool_of(first) ~= pool.name then return EXDEV end
      local code, details, message = call(verbs, named or {}, first, second, third)
      if code == EIO and mode == "sync" then
        error(format("%s: %s: %s", own.name, first, message or "input/output error"), 2)
      end
      if details == nil then return code end
      return code, details
    end
  end
end

operation("bookmark", {"snapshot | bookmark", "bookmark"}, function(verbs, _, source, new)
  return verbs.bookmark(source, new)
end)

operation("clone", {"snapshot", "filesystem | volume"}, function(verbs, _, snapshot, new)
  return verbs.clone(snapshot, new)
end)

operation("destroy", {"filesystem | volume | snapshot", named = {{"defer", "boolean"}}},
  function(verbs, named, name)
    -- Lists and ranges of snapshots, and bookmarks, are pool's.
    if find(name, "[,%%#]") then return EINVAL end
    if sub(name, -1) == "@" then return EINVAL end
    return verbs.destroy{name, defer = named.defer or false}
  end)

operation("inherit", {"filesystem | volume | snapshot", "property"}, function(verbs, _, name, property)
  return verbs.inherit(name, property)
end)

operation("promote", {"clone"}, function(verbs, _, name)
  return verbs.promote(name)
end)

operation("rename_snapshot", {"filesystem | volume", "old snapshot name", "new snapshot name"},
  function(verbs, _, name, old, new)
    if find(name, "[@#]") or find(old, "[@#/]") or find(new, "[@#/]") then return EINVAL end
    return verbs.rename(name .. "@" .. old, name .. "@" .. new)
  end)

operation("rollback", {"filesystem | volume"}, function(verbs, _, name)
  if find(name, "[@#]") then return EINVAL end
  return verbs.rollback(name)
end)

operation("set_prop", {"filesystem | volume | snapshot", "property", "value"},
  function(verbs, _, name, property, value)
    if not find(property, ":", 1, true) then return EINVAL end
    return verbs.set(name, {[property] = value})
  end)

operation("snapshot", {"snapshot"}, function(verbs, _, name)
  if not find(name, "@", 1, true) then return EINVAL end
  return verbs.snapshot(name)
end)

zfs.list = seal(zfs.list)
zfs.sync = seal(zfs.sync)
zfs.check = seal(zfs.check)
return seal(zfs)
