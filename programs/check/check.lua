-- check.lua API SCRIPT|-: checks a channel program without running it. Prints `file:line:col: what` for each finding.
-- Exit status: 0 clean, 1 findings, 2 the script cannot be read, 3 luacheck is not installed.
--
-- luacheck finds what is wrong as Lua: syntax, globals, what is unused or cannot be reached. Calls of the pool's and
-- zfs's functions are then compared with the table of verbs and properties (API). What can only be known when the
-- program runs (a name held in a variable, a table built elsewhere) is passed over.

local installed, luacheck = pcall(require, "luacheck")
if not installed then os.exit(3) end
local decoder = require "luacheck.decoder"
local parser = require "luacheck.parser"

local api_path, script = arg[1], arg[2]
local api = dofile(api_path)
local source
if script == "-" then
  source = io.read("*a")
else
  local file, why = io.open(script, "rb")
  source = file and file:read("*a")
  if not source then
    io.stderr:write("coppice: cannot read the program: ", why or script, "\n")
    os.exit(2)
  end
end

local findings = {}
local function add(line, column, what)
  findings[#findings + 1] = {line = line, column = column, what = what}
end

-- The name in `names` (keys) that is nearest to a wrong one, for "did you mean".
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal
    diagonal, row[0] = row[0], i
    for j = 1, #b do
      local cost = a:sub(i, i) == b:sub(j, j) and 0 or 1
      diagonal, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
    end
  end
  return row[#b]
end
local function hint(wrong, names)
  local best, least
  for name in pairs(names) do
    local far = distance(wrong, name)
    if far <= 2 and (not least or far < least or far == least and name < best) then best, least = name, far end
  end
  return best and (" (did you mean " .. best .. "?)") or ""
end

-- --- Properties

local function is_user_property(name)
  return #name <= 255 and name:find(":", 1, true) and not name:find("[^%l%d:%-._]") and name:sub(1, 1) ~= "-"
end
local function property_problem(name, settable)
  if is_user_property(name) then return nil end
  if not settable and (name:match("^written@.") or name:match("^written#.")) then return nil end
  local known = api.properties[api.aliases[name] or name]
  if not known then return "unknown property '" .. name .. "'" .. hint(name, api.properties) end
  if settable and not known.settable then return "property '" .. name .. "' cannot be set" end
  return nil
end

-- --- Calls

local at -- {line, column} of a node; set once the source is parsed.

local function text_of(node)
  while node and node.tag == "Paren" do node = node[1] end
  if node and node.tag == "String" then return node[1] end
  return nil
end
local function is_open(node) -- More values than one may come of it.
  return node.tag == "Dots" or node.tag == "Call" or node.tag == "Invoke"
end
local literals = {String = "a text", Number = "a number", True = "a flag", False = "a flag", Table = "a table",
                  Function = "a function"}

-- What a call passes: positional values, named ones, and whether there may be more that cannot be seen.
local function passed(call)
  local given = {positional = {}, named = {}, open = false}
  local first = call[2]
  local plain = #call ~= 2 or first.tag ~= "Table"
  if plain then
    for i = 2, #call do given.positional[i - 1] = call[i] end
    local last = call[#call]
    if #call > 1 and is_open(last) then given.open, given.positional[#call - 1] = true, nil end
    -- One value that is no literal may be the table of all arguments.
    if #call == 2 and not literals[last.tag] and not text_of(last) then given.open, given.positional = true, {} end
    return given
  end
  for i, item in ipairs(first) do
    if item.tag == "Pair" then
      local key = text_of(item[1])
      if key then given.named[key] = item else given.open = true end
    elseif i == #first and is_open(item) then
      given.open = true
    else
      given.positional[#given.positional + 1] = item
    end
  end
  return given
end

local function report(node, what)
  local line, column = at(node)
  add(line, column, what)
end

local function check_keys(node, settable)
  if node.tag ~= "Table" then return end
  for _, item in ipairs(node) do
    local key = item.tag == "Pair" and text_of(item[1])
    local problem = key and property_problem(key, settable)
    if problem then report(item, problem) end
  end
end

local kinds = {
  flag = {["a flag"] = true, ["a text"] = true},
  number = {["a number"] = true, ["a text"] = true},
  text = {["a text"] = true, ["a number"] = true},
  ["list of text"] = {["a text"] = true, ["a table"] = true},
  ["map of text"] = {["a table"] = true},
}

local function check_value(path, argument, node)
  local kind = literals[node.tag]
  local wanted = kinds[argument.kind]
  if kind and wanted and not wanted[kind] then
    report(node, path .. ": " .. argument.name .. " is a " .. argument.kind .. ", not " .. kind)
    return
  end
  if argument.name == "properties" then check_keys(node, true) end
  if argument.name == "property" then
    local name = text_of(node)
    local problem = name and property_problem(name, false)
    if problem then report(node, problem) end
  end
end

local function check_verb(path, call, arguments)
  local given = passed(call)
  local by_place, by_name, places = {}, {}, 0
  for _, argument in ipairs(arguments) do
    if argument.name == "..." then places = math.huge end
    by_name[argument.name] = argument
    if argument.position > 0 then
      by_place[argument.position] = argument
      places = math.max(places, argument.position)
    end
  end
  if #given.positional > places then
    report(given.positional[places + 1],
           path .. ": " .. #given.positional .. " arguments without a name, and it takes at most " .. places)
  end
  for place, node in ipairs(given.positional) do
    local argument = by_place[place]
    if argument then
      if given.named[argument.name] then report(given.named[argument.name], path .. ": " .. argument.name .. " is given twice") end
      check_value(path, argument, node)
    end
  end
  for name, item in pairs(given.named) do
    if not by_name[name] then
      report(item, path .. ": there is no argument '" .. name .. "'" .. hint(name, by_name))
    else
      check_value(path, by_name[name], item[2])
    end
  end
  for _, argument in ipairs(arguments) do
    local there = given.named[argument.name] or argument.position > 0 and given.positional[argument.position]
    if argument.required and not there and not given.open then
      report(call, path .. ": argument '" .. argument.name .. "' is missing")
    end
  end
end

-- A function that is no verb: the same, its arguments made from the list of their names.
local function check_function(path, call, wanted)
  local arguments = {}
  for place, name in ipairs(wanted.arguments) do
    arguments[#arguments + 1] =
      {name = name, kind = "any", position = name ~= "..." and place or 0, required = place <= wanted.required}
  end
  for _, name in ipairs(wanted.named) do
    arguments[#arguments + 1] = {name = name, kind = "flag", position = 0, required = false}
  end
  check_verb(path, call, arguments)
end

local function check_call(path, call)
  local mode, verb = path:match("^pool%.(%l+)%.([%w_]+)$")
  if mode == "check" or mode == "sync" or mode == "try" then
    if api.verbs[verb] then check_verb(path, call, api.verbs[verb]) end
  elseif api.functions[path] then
    check_function(path, call, api.functions[path])
  end
end

-- --- What there is: "pool.sync" and the like, and what is not.

local function fields_at(path)
  local node = {fields = api.standard.read_globals}
  for name in path:gmatch("[^.]+") do
    node = node.fields and node.fields[name]
    if not node then return nil end
  end
  return node.fields
end
local function check_path(path, node)
  local above, last = path:match("^(.*)%.([^.]+)$")
  if not above then return end
  local fields = fields_at(above)
  if fields and not fields[last] then
    local what = above:match("^%l+%.check$") or above:match("^%l+%.sync$") or above == "pool.try"
    report(node, (what and "unknown verb " or "unknown function ") .. path .. hint(last, fields))
  end
end

-- --- The walk: scopes hold, for each local name, the path that it stands for, or false.

local scope
local reassigned = {} -- Names of locals that get another value somewhere: they stand for nothing.

local function within(act)
  scope = {above = scope, names = {}}
  act()
  scope = scope.above
end
local function meaning(name)
  local each = scope
  while each do
    if each.names[name] ~= nil then return each.names[name] end
    each = each.above
  end
  return (name == "pool" or name == "zfs") and name or false
end
local function path_of(node)
  while node.tag == "Paren" do node = node[1] end
  if node.tag == "Id" then return meaning(node[1]) end
  if node.tag ~= "Index" then return false end
  local base, key = path_of(node[1]), text_of(node[2])
  return base and key and (base .. "." .. key) or false
end

local walk
local function walk_all(nodes)
  for _, node in ipairs(nodes) do
    if type(node) == "table" then walk(node) end
  end
end
local function declare(variables, values)
  for i, variable in ipairs(variables) do
    if variable.tag == "Id" then
      local value = values and values[i]
      local path = value and (value.tag == "Id" or value.tag == "Index") and path_of(value)
      scope.names[variable[1]] = not reassigned[variable[1]] and path or false
    end
  end
end

local special = {
  Function = function(node)
    within(function()
      declare(node[1])
      walk_all(node[2])
    end)
  end,
  Local = function(node)
    if node[2] then walk_all(node[2]) end
    declare(node[1], node[2])
  end,
  Localrec = function(node)
    declare(node[1])
    walk_all(node[2])
  end,
  Fornum = function(node)
    for i = 2, #node - 1 do walk(node[i]) end
    within(function()
      declare({node[1]})
      walk_all(node[#node])
    end)
  end,
  Forin = function(node)
    walk_all(node[2])
    within(function()
      declare(node[1])
      walk_all(node[3])
    end)
  end,
  Repeat = function(node)
    within(function()
      walk_all(node[1])
      walk(node[2])
    end)
  end,
  Call = function(node)
    walk_all(node)
    local path = path_of(node[1])
    if path then
      check_call(path, node)
    end
  end,
  Index = function(node)
    walk_all(node)
    local path = path_of(node)
    if path then check_path(path, node) end
  end,
}
function walk(node)
  local own = special[node.tag]
  if own then return own(node) end
  if node.tag == "Set" then -- Fields that a program adds to the API's tables are its own affair.
    walk_all(node[2])
    for _, target in ipairs(node[1]) do
      if target.tag == "Index" then walk_all(target) end
    end
    return nil
  end
  -- What has no tag is a block, and so is a `do`.
  if node.tag == nil or node.tag == "Do" then return within(function() walk_all(node) end) end
  return walk_all(node)
end

local function find_reassigned(node)
  if node.tag == "Set" or node.tag == "OpSet" then
    for _, target in ipairs(node[1]) do
      if type(target) == "table" and target.tag == "Id" then reassigned[target[1]] = true end
    end
  end
  for _, child in ipairs(node) do
    if type(child) == "table" then find_reassigned(child) end
  end
end

-- --- Both passes

local options = {std = api.standard, allow_defined_top = true, max_line_length = false}
local issues = luacheck.check_strings({source}, options)[1]
local broken = false
for _, issue in ipairs(issues) do
  broken = broken or issue.code == "011"
  local ours = issue.code == "143" and (issue.name == "pool" or issue.name == "zfs")
  if not ours then add(issue.line, issue.column, luacheck.get_message(issue)) end
end
if not broken then
  local offsets = {}
  local tree = parser.parse(decoder.decode(source), offsets, {})
  at = function(node) return node.line, node.offset - offsets[node.line] + 1 end
  find_reassigned(tree)
  within(function() walk_all(tree) end)
end

table.sort(findings, function(a, b)
  if a.line ~= b.line then return a.line < b.line end
  if a.column ~= b.column then return a.column < b.column end
  return a.what < b.what
end)
for _, each in ipairs(findings) do
  print(("%s:%d:%d: %s"):format(script, each.line, each.column, each.what))
end
os.exit(#findings > 0 and 1 or 0)
