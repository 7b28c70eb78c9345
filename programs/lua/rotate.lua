-- rotate.lua ROOT TIME [hourly=N] [daily=N] [weekly=N]
--
-- Takes a snapshot auto-TIME of ROOT and everything below it, all at one point in time, and then destroys those of its
-- snapshots that no rule keeps. hourly=24 keeps the newest snapshot of each of the 24 latest hours that have one; daily
-- and weekly (weeks begin on Monday) do the same for days and weeks. Without a rule every snapshot is kept. Snapshots
-- that are held or cloned stay until that ends; others than auto-... are never touched.
--
-- Programs have no clock, so TIME comes as an argument: YYYY-MM-DDTHH:MM, for cron `$(date -u +%Y-%m-%dT%H:%M)`.
--
-- Returns {created = COUNT, destroyed = COUNT, busy = {NAMES}}.
--
--   coppice program tank rotate.lua tank/vms "$(date -u +%Y-%m-%dT%H:%M)" hourly=24 daily=7 weekly=5

local args = ...
local argv = args.argv
local PREFIX = "auto-"

local function parse(time)
  local year, month, day, hour = time:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)T(%d%d):%d%d$")
  if not year then return nil end
  return {year = tonumber(year), month = tonumber(month), day = tonumber(day), hour = tonumber(hour)}
end

-- Days since 1970-01-01, in the Gregorian calendar: a year is taken to begin in March, so that its leap day is the last.
local function day_number(time)
  local year = time.month <= 2 and time.year - 1 or time.year
  local month = (time.month + 9) % 12
  local of_year = (153 * month + 2) // 5 + time.day - 1
  return 365 * year + year // 4 - year // 100 + year // 400 + of_year - 719468
end

local periods = {
  hourly = function(time) return day_number(time) * 24 + time.hour end,
  daily = day_number,
  weekly = function(time) return (day_number(time) + 3) // 7 end, -- 1970-01-01 was a Thursday.
}

local root, now = argv[1], argv[2]
if not root or not now or not parse(now) then
  error("usage: rotate.lua ROOT YYYY-MM-DDTHH:MM [hourly=N] [daily=N] [weekly=N]", 0)
end
local rules = {}
for i = 3, #argv do
  local period, count = argv[i]:match("^(%l+)=(%d+)$")
  if not periods[period] then error("not a rule: " .. argv[i], 0) end
  rules[#rules + 1] = {bucket = periods[period], count = tonumber(count)}
end

-- Fails the program, and with it all that it did, unless the code is 0. The message is the verb's own.
local function must(code, _, message)
  if code ~= 0 then error(message, 0) end
end

-- Of one dataset's snapshots (newest first), those that some rule keeps.
local function kept_of(snapshots)
  local kept = {}
  for _, rule in ipairs(rules) do
    local last, buckets = nil, 0
    for _, snapshot in ipairs(snapshots) do
      local bucket = rule.bucket(snapshot.time)
      if bucket ~= last then
        buckets = buckets + 1
        if buckets > rule.count then break end
        kept[snapshot.name], last = true, bucket
      end
    end
  end
  return kept
end

must(pool.sync.snapshot{root .. "@" .. PREFIX .. now, recursive = true})

local result = {created = 0, destroyed = 0, busy = {}}
local datasets = {root}
for name in pool.list.descendants(root) do datasets[#datasets + 1] = name end
for _, dataset in ipairs(datasets) do
  local snapshots = {}
  for name in pool.list.snapshots(dataset) do
    local text = name:match("@auto%-(.+)$")
    local time = text and parse(text)
    if text == now then result.created = result.created + 1 end
    if time then table.insert(snapshots, {name = name, time = time, text = text}) end
  end
  table.sort(snapshots, function(a, b) return a.text > b.text end)
  local kept = kept_of(snapshots)
  for _, snapshot in ipairs(snapshots) do
    if #rules > 0 and not kept[snapshot.name] then
      local code, _, message = pool.sync.destroy(snapshot.name)
      if code == 0 then
        result.destroyed = result.destroyed + 1
      elseif code == EBUSY or code == EEXIST then
        table.insert(result.busy, snapshot.name)
      else
        must(code, nil, message)
      end
    end
  end
end
return result
