-- destroy_matching.lua ROOT PATTERN [skip-busy]
--
-- Destroys every snapshot of ROOT and of everything below it whose name, the part after @, matches PATTERN: a pattern of
-- Lua, so "^auto%-2025" and not "auto-2025*". All or nothing: if one is held or cloned the program fails and nothing is
-- destroyed, unless the last argument is skip-busy. With `coppice program -n` it tells what it would do.
--
-- Returns {destroyed = {NAMES}, busy = {NAMES}}.
--
--   coppice program tank destroy_matching.lua tank/vms '^before%-upgrade'

local args = ...
local root, pattern, mode = args.argv[1], args.argv[2], args.argv[3]
if not root or not pattern or mode and mode ~= "skip-busy" then
  error("usage: destroy_matching.lua ROOT PATTERN [skip-busy]", 0)
end

local datasets = {root}
for name in pool.list.descendants(root) do datasets[#datasets + 1] = name end

local found = {}
for _, dataset in ipairs(datasets) do
  for name in pool.list.snapshots(dataset) do
    if name:match("@(.*)$"):find(pattern) then found[#found + 1] = name end
  end
end

local result = {destroyed = {}, busy = {}}
for _, name in ipairs(found) do
  -- try and not sync, so that a read-only run shows the same result.
  local code, _, message = pool.try.destroy(name)
  if code == 0 then
    table.insert(result.destroyed, name)
  elseif mode == "skip-busy" then
    table.insert(result.busy, name)
  else
    error(message, 0)
  end
end
return result
