// coppice-describe: what a channel program may call, made from the verb table.
//
//   coppice-describe api      a Lua table: for check.lua, and a standard of globals for luacheck
//   coppice-describe manual   the API reference of coppice-program(8), as mdoc
//
// Runs while building. What is no verb (questions, lists, the functions of zfs) is listed here.
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "verb/properties.h"
#include "verb/verb.h"

namespace {

using coppice::verb::Argument;
using coppice::verb::Kind;
using coppice::verb::Property;
using coppice::verb::Row;

// A function that is no verb. `arguments` are names in order; those from `required` on may be left
// out; `named` only in a table.
struct Function {
  std::string_view path;
  std::string_view arguments;
  int required;
  std::string_view named;
  std::string_view returns;
};

constexpr Function kFunctions[] = {
    {"pool.exists", "name", 1, "", "whether there is such a dataset, snapshot or bookmark"},
    {"pool.get", "name property", 2, "",
     "the value and its source; nothing if the target has none of that property"},
    {"pool.list.children", "name", 1, "", "datasets one level below, by name"},
    {"pool.list.descendants", "name", 1, "", "all datasets below, parents first, by name"},
    {"pool.list.snapshots", "name", 1, "", "snapshots of the dataset, oldest first"},
    {"pool.list.bookmarks", "name", 1, "", "bookmarks of the dataset, by name"},
    {"pool.list.clones", "name", 1, "", "clones of the snapshot, by name"},
    {"pool.list.holds", "name", 1, "", "tag and time of each hold on the snapshot"},
    {"pool.list.properties", "name", 1, "", "name, value and source of each property"},
    {"pool.list.user_properties", "name", 1, "", "the same of users' properties alone"},
    {"pool.list.system_properties", "name", 1, "", "the names of the native properties"},
    {"pool.list.links", "name", 1, "",
     "name, dataset, hook, hash of its object, program and instance, of each pinned link of it and "
     "all below, in the order in which they run"},
    {"pool.list.objects", "name", 1, "",
     "hash, name (or nil) and whether links use it, of each eBPF object that the pool keeps"},
    {"pool.list.exports", "name", 1, "",
     "name, protocol, address, whether read-only, whether pinned, of each running export of it and "
     "all below"},
    {"pool.savepoint", "function ...", 1, "",
     "true and what the function returned, called with what follows it; or false and its error, "
     "the changes undone"},
    {"pool.note", "text", 1, "", "nothing; the text is in the trace"},
    {"zfs.exists", "dataset", 1, "", "as pool.exists"},
    {"zfs.debug", "message", 1, "", "nothing; as pool.note"},
    {"zfs.get_prop", "dataset property", 2, "", "value and source, or nothing"},
    {"zfs.list.children", "dataset", 1, "", "an iterator of names"},
    {"zfs.list.snapshots", "dataset", 1, "", "an iterator of names"},
    {"zfs.list.bookmarks", "dataset", 1, "", "an iterator of names"},
    {"zfs.list.clones", "snapshot", 1, "", "an iterator of names"},
    {"zfs.list.holds", "snapshot", 1, "", "an iterator of tags and times"},
    {"zfs.list.properties", "dataset", 1, "", "an iterator of name, value, source"},
    {"zfs.list.user_properties", "dataset", 1, "", "an iterator of name, value, source"},
    {"zfs.list.system_properties", "dataset", 1, "", "an array of names"},
};
// The same under zfs.sync and zfs.check.
constexpr Function kZfsVerbs[] = {
    {"bookmark", "source newbookmark", 2, "", ""},
    {"clone", "snapshot newdataset", 2, "", ""},
    {"destroy", "dataset", 1, "defer", ""},
    {"inherit", "dataset property", 2, "", ""},
    {"promote", "dataset", 1, "", "of EEXIST an array of snapshot names"},
    {"rename_snapshot", "dataset oldsnapname newsnapname", 3, "", ""},
    {"rollback", "filesystem", 1, "", "of 0 {target = snapshot}"},
    {"set_prop", "dataset property value", 3, "", ""},
    {"snapshot", "dataset", 1, "", ""},
};

// Names of Lua's own that are there.
constexpr std::string_view kGlobals =
    "assert collectgarbage error getmetatable ipairs next pairs pcall rawequal rawget rawlen "
    "rawset "
    "select setmetatable tonumber tostring type xpcall _G _VERSION";
constexpr std::pair<std::string_view, std::string_view> kLibraries[] = {
    {"coroutine", "close create isyieldable resume running status wrap yield"},
    {"string",
     "byte char find format gmatch gsub len lower match pack packsize rep reverse sub unpack "
     "upper"},
    {"table", "concat insert move pack remove sort unpack"},
    {"math",
     "abs acos asin atan atan2 ceil cos cosh deg exp frexp ldexp log10 pow sinh tanh floor fmod "
     "huge log max maxinteger min mininteger modf "
     "pi "
     "rad random randomseed sin sqrt tan tointeger type ult"},
    {"utf8", "char charpattern codepoint codes len offset"},
};
constexpr std::string_view kErrnoNames =
    "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT "
    "ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG "
    "ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENOLCK ECANCELED ENOTSUP EDQUOT "
    "ENAMETOOLONG ECHRNG ETIME EOVERFLOW ENOTEMPTY ESTALE EALREADY";

template <class Do>
void each_word(std::string_view words, Do act) {
  while (!words.empty()) {
    const size_t end = std::min(words.find(' '), words.size());
    if (end > 0) act(words.substr(0, end));
    words.remove_prefix(std::min(end + 1, words.size()));
  }
}

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }
std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }
std::string list_of(std::string_view words) {
  std::string out = "{";
  each_word(words, [&](std::string_view word) { out += quoted(word) + ", "; });
  return out + "}";
}

// --- For check.lua

void print_function(std::string_view path, const Function& function) {
  print("    [" + quoted(path) + "] = {arguments = " + list_of(function.arguments) +
        ", required = " + std::to_string(function.required) +
        ", named = " + list_of(function.named) + "},\n");
}

void print_verb(const Row& row) {
  print("    " + std::string(row.name) + " = {\n");
  for (const Argument& argument : row.arguments)
    print("      {name = " + quoted(argument.name) + ", kind = " + quoted(name_of(argument.kind)) +
          ", position = " + std::to_string(argument.position + 1) +
          ", required = " + (argument.required ? "true" : "false") + "},\n");
  print("    },\n");
}

void print_property(const Property& property) {
  print("    " + std::string(property.name) +
        " = {settable = " + (property.settable ? "true" : "false") +
        ", inheritable = " + (property.inheritable ? "true" : "false") + "},\n");
}

// Fields of `pool` and `zfs` as luacheck wants them: a tree of {fields = {...}}.
void print_fields(std::string_view root) {
  const std::string prefix = std::string(root) + ".";
  std::string own, lists;
  for (const Function& each : kFunctions) {
    if (!each.path.starts_with(prefix)) continue;
    const std::string_view rest = each.path.substr(prefix.size());
    const std::string_view list = "list.";
    std::string& into = rest.starts_with(list) ? lists : own;
    into += std::string(rest.starts_with(list) ? rest.substr(list.size()) : rest) + " = {}, ";
  }
  std::string verbs;
  if (root == "pool")
    for (const Row& row : coppice::verb::table()) verbs += std::string(row.name) + " = {}, ";
  else
    for (const Function& each : kZfsVerbs) verbs += std::string(each.path) + " = {}, ";
  if (root == "pool") own += "name = {}, ";
  print("      " + std::string(root) + " = {fields = {" + own + "list = {fields = {" + lists +
        "}}, check = {fields = {" + verbs + "}}, sync = {fields = {" + verbs + "}}" +
        (root == "pool" ? ", try = {fields = {" + verbs + "}}" : std::string()) + "}},\n");
}

void print_standard() {
  print("  standard = {\n    read_globals = {\n");
  each_word(kGlobals, [](std::string_view name) {
    print("      " + std::string(name) +
          (name == "_G" ? " = {other_fields = true, read_only = false},\n" : " = {},\n"));
  });
  for (const auto& [library, names] : kLibraries) {
    print("      " + std::string(library) + " = {fields = {");
    each_word(names, [](std::string_view name) { print(std::string(name) + " = {}, "); });
    print("}},\n");
  }
  each_word(kErrnoNames,
            [](std::string_view name) { print("      " + std::string(name) + " = {},\n"); });
  print_fields("pool");
  print_fields("zfs");
  print("    },\n  },\n");
}

void print_api() {
  print("-- Made by coppice-describe from the verb table.\nreturn {\n  verbs = {\n");
  for (const Row& row : coppice::verb::table()) print_verb(row);
  print("  },\n  properties = {\n");
  for (const Property& each : coppice::verb::properties()) print_property(each);
  print("  },\n  aliases = {\n");
  for (const std::string_view alias :
       {"avail", "refer", "reserv", "rdonly", "lused", "lrefer", "usedsnap", "usedds", "usedchild",
        "usedrefreserv", "sscount"})
    if (const Property* full = coppice::verb::find_property(alias))
      print("    " + std::string(alias) + " = " + quoted(full->name) + ",\n");
  print("  },\n  functions = {\n");
  for (const Function& each : kFunctions) print_function(each.path, each);
  for (const Function& each : kZfsVerbs)
    for (const std::string mode : {"zfs.check.", "zfs.sync."})
      print_function(mode + std::string(each.path), each);
  print("  },\n");
  print_standard();
  print("}\n");
}

// --- For the manual

void print_manual_verb(const Row& row) {
  print(".It Ic " + std::string(row.name));
  for (const Argument& argument : row.arguments)
    if (argument.position >= 0)
      print(argument.required ? " Ar " + std::string(argument.name)
                              : " Op Ar " + std::string(argument.name));
  print("\n");
  std::string summary(row.summary);
  summary.front() = static_cast<char>(summary.front() - 'a' + 'A');
  print(summary + ".\n.Bl -tag -width Ds -compact\n");
  for (const Argument& argument : row.arguments) {
    print(".It Va " + std::string(argument.name) + " Pq " + name_of(argument.kind));
    print(argument.required ? "\n" : " , optional\n");
    print(std::string(argument.summary));
    if (!argument.fallback.empty()) print("; the default is " + std::string(argument.fallback));
    print("\n");
  }
  print(".El\n");
}

void print_manual() {
  print(".Ss Questions\n.Bl -tag -width Ds\n.It Va pool.name\nThe name of the program's pool.\n");
  for (const Function& each : kFunctions) {
    if (!each.path.starts_with("pool.")) continue;
    print(".It Fn " + std::string(each.path));
    each_word(each.arguments, [](std::string_view word) { print(" " + quoted(word)); });
    print("\nReturns " + std::string(each.returns) + ".\n");
  }
  print(".El\n.Ss Verbs\n.Bl -tag -width Ds\n");
  for (const Row& row : coppice::verb::table()) print_manual_verb(row);
  print(".El\n.Ss Native properties\n.Bl -tag -width Ds -compact\n");
  for (const Property& each : coppice::verb::properties()) {
    print(".It Sy " + std::string(each.name) + (each.settable ? " Pq settable\n" : "\n"));
    print(std::string(each.summary) + "\n");
  }
  print(".El\n.Ss Functions of zfs\n.Bl -tag -width Ds -compact\n");
  for (const Function& each : kFunctions) {
    if (!each.path.starts_with("zfs.")) continue;
    print(".It Fn " + std::string(each.path));
    each_word(each.arguments, [](std::string_view word) { print(" " + quoted(word)); });
    print("\n" + std::string(each.returns) + "\n");
  }
  for (const Function& each : kZfsVerbs) {
    print(".It Fn zfs.sync." + std::string(each.path));
    each_word(each.arguments, [](std::string_view word) { print(" " + quoted(word)); });
    each_word(each.named,
              [](std::string_view word) { print(" " + quoted(std::string(word) + " = ...")); });
    print("\nand zfs.check; the errno");
    print(each.returns.empty() ? "\n" : ", and " + std::string(each.returns) + "\n");
  }
  print(".El\n.Ss Names of errors\n");
  std::string line;
  each_word(kErrnoNames, [&](std::string_view name) {
    line += std::string(name) + " ";
    if (line.size() > 90) {
      print(line.substr(0, line.size() - 1) + "\n");
      line.clear();
    }
  });
  if (!line.empty()) print(line.substr(0, line.size() - 1) + "\n");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc == 2 ? argv[1] : "";
  if (what == "api")
    print_api();
  else if (what == "manual")
    print_manual();
  else
    return 2;
  return std::fflush(stdout) == 0 ? 0 : 1;
}
