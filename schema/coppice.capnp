@0xd5f2a61c8e4b7093;
# The control plane of coppiced: what `coppice` and other clients say to it, over a Unix socket.
#
# Conventions.
# - Objects, not names: a client walks Host -> Pool -> Dataset -> Snapshot / Export and calls methods there. An object
#   names one thing for good: a Dataset stays the same volume when it is renamed, and is refused with ENOENT once the
#   volume is destroyed.
# - Every method that can be refused returns an Answer: exactly one of `value` and `refusal` is set. Exceptions of the RPC
#   layer mean that the connection or the protocol is broken, never that the daemon said no. Calls may be pipelined on
#   `value`; on a refused one they end with an exception.
# - Descriptors ride on capabilities: where a method takes a File or a ListenSocket, the client passes an object of its
#   own whose only content is the descriptor. The daemon never opens a path that a client named. EINVAL: it carried none.
# - Sizes are bytes, times `...Ns` nanoseconds, `...S` seconds of the Unix epoch unless called elapsed, texts UTF-8.
# - A command that changes a pool is answered once the change is durable.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coppice::schema");

const protocolVersion :UInt32 = 1;

# --- Answers ---------------------------------------------------------------------------------------------------------

struct Refusal {
  errno @0 :Int32;    # As users of zfs expect it: ENOENT, EEXIST, EBUSY, EINVAL, ENOSPC, EDQUOT, EROFS, EIO, ...
  code @1 :Text;      # The same by name, finer: "not_found", "corrupt", ...
  message @2 :Text;   # One line for a person: what was tried, on what, why, and what to do.
  details @3 :List(Text);  # Further lines, such as the names that are in the way. At most 1,000.
}

struct Answer(T) {
  value @0 :T;
  refusal @1 :Refusal;
}

struct Done {}  # The value where there is nothing to say.

struct Value {  # As in JSON.
  union {
    null @0 :Void;
    flag @1 :Bool;
    number @2 :UInt64;
    text @3 :Text;
    list @4 :List(Value);
    record @5 :List(Field);
    integer @6 :Int64;   # Of a program's result; verbs take `number`.
    real @7 :Float64;
  }
}

struct Field {
  name @0 :Text;
  value @1 :Value;
}

struct Setting {
  name @0 :Text;
  value @1 :Text;
}

# --- Descriptors -----------------------------------------------------------------------------------------------------

interface File {}          # A regular file or block device, open for reading and writing.
interface ListenSocket {}  # A stream socket that is bound and listening.

# --- The daemon ------------------------------------------------------------------------------------------------------

interface Host {           # The bootstrap object.
  version @0 () -> (version :Text, protocol :UInt32);

  # Opens the pool in `file`, of which nobody else may hold a lock. `name`: empty, or what it must be called.
  # EINVAL: no pool. EBUSY: in use by this or another process. ENOTSUP: a newer format. EEXIST: a pool of this name is
  # open. EIO (code "corrupt"): damaged. E2BIG: 64 pools are open. ENOTSUP: `readOnly`, which the format has no use for yet. It stays open until Pool.close or the daemon ends;
  # after a restart it is open again only if the daemon's command line or configuration names it.
  openPool @1 (file :File, name :Text, readOnly :Bool) -> Answer(Pool);

  # Makes a pool that fills `file`, whose size is the pool's, and opens it.
  # EEXIST: there is a pool in it already, and not `force`; or one of this name is open. EINVAL: the name or the size.
  createPool @2 (file :File, name :Text, force :Bool) -> Answer(Pool);

  pools @3 () -> Answer(List(PoolEntry));        # In name order.
  pool @4 (name :Text) -> Answer(Pool);          # The pool of this name, or that which holds the dataset "name/...". ENOENT.
  status @5 () -> Answer(HostStatus);
  exports @6 () -> Answer(List(ExportInfo));     # Of all pools, pinned or not, in the order of their names.
  properties @7 () -> Answer(List(PropertyInfo));  # The native ones, in the order in which `get all` shows them.
  verbs @8 () -> Answer(List(VerbInfo));         # What Pool.invoke understands.
  killProgram @9 (id :UInt64) -> Answer(Done);   # Ends a channel program, whoever started it. ENOENT.

  # Attaches eBPF programs to tracepoints and timers of the daemon.
  attach @10 (spec :AttachSpec) -> Answer(Attached);
  links @11 () -> Answer(LinkTable);             # Of all hook points, each point's in the order in which they run.
  link @12 (id :UInt64) -> Answer(Link);         # ENOENT.
  adoptLink @13 (handle :LinkHandle) -> Answer(Link);  # The link that a descriptor stands for. EINVAL: none.
  maps @14 () -> Answer(List(MapEntry));         # Of all programs that are loaded.
  map @15 (id :UInt64) -> Answer(Map);           # ENOENT.
  tracepoints @16 () -> Answer(List(TracepointInfo));
  # The types that programs are relocated against, in the kernel's BTF format: views, contexts, and those structures of
  # this build that internal tracepoints point at.
  types @17 () -> Answer(HostTypes);
}

struct PoolEntry {
  pool @0 :Pool;
  status @1 :PoolStatus;
}

struct HostStatus {
  version @0 :Text;
  pid @1 :UInt32;
  startedS @2 :UInt64;
  uptimeNs @3 :UInt64;
  memoryBytes @4 :UInt64;        # Resident.
  memoryPeakBytes @5 :UInt64;
  cpuNs @6 :UInt64;              # User and system time.
  openFiles @7 :UInt32;
  openFilesMax @8 :UInt32;
  controlConnections @9 :UInt32;     # Clients of this interface.
  controlConnectionsMax @10 :UInt32;
  reactors @11 :List(ReactorStatus);
  pools @12 :List(PoolStatus);
  volumes @13 :List(VolumeStatus);   # Those that are exported.
  exports @14 :List(ExportInfo);
  listeners @15 :List(ListenerStatus);
  warnings @16 :List(Text);          # Of start-up: pools that did not open, exports that did not come back.
  sandboxed @17 :Bool;
  programs @18 :List(ProgramInfo);   # Running, and waiting for their turn, in the order of their ids.
  clients @19 :List(ClientStatus);   # Of exports, in the order of their numbers.
}

struct ClientStatus {
  number @0 :UInt64;             # As programs see it.
  volume @1 :Text;
  address @2 :Text;              # Of the export.
  peer @3 :Text;                 # "uid=0, pid=17", or the address it came from.
  readOnly @4 :Bool;
}

struct ReactorStatus {
  name @0 :Text;               # "sync", "io-0", ...
  turns @1 :UInt64;            # Times round its loop.
  completions @2 :UInt64;      # Of the kernel's requests.
  jobs @3 :UInt64;             # From its mailbox.
  sleeps @4 :UInt64;           # How often it had nothing to do.
  wakes @5 :UInt64;            # By other threads.
}

struct ListenerStatus {
  address @0 :Text;
  exports @1 :UInt32;
  connections @2 :UInt32;      # Clients that have chosen an export.
  accepted @3 :UInt64;         # Since it was opened.
}

# --- A pool ----------------------------------------------------------------------------------------------------------

interface Pool {
  status @0 () -> Answer(PoolStatus);
  dataset @1 (name :Text) -> Answer(Dataset);      # By full name: "tank/vm". ENOENT.
  snapshot @2 (name :Text) -> Answer(Snapshot);    # By full name: "tank/vm@monday". ENOENT.

  # What `list` and `get` show. ENOENT: the root. EINVAL: an unknown property. E2BIG: too many cursors are open.
  list @3 (query :ListQuery) -> Answer(Cursor);

  # Runs one verb of the verb table as one transaction; the typed methods below and in Dataset and Snapshot are the same
  # verbs. `dryRun`: checks and computes the result, changes nothing. The value is what the verb's row says.
  # EINVAL: no such verb, a wrong or missing argument; and what the verb refuses with.
  invoke @4 (verb :Text, arguments :List(Field), dryRun :Bool) -> Answer(Value);

  # A volume if volsize is not 0, else a group. `parents`: makes missing groups above it.
  create @5 (name :Text, volsize :UInt64, properties :List(Setting), parents :Bool) -> Answer(Dataset);
  # All at one point in time, all or none. Names are full: "tank/a@s". `recursive`: and of everything below.
  snapshotMany @6 (names :List(Text), recursive :Bool, properties :List(Setting)) -> Answer(Done);

  # Records from sequence `from` on, oldest first, at most `countMax` (0: 1,000, which is also the limit).
  history @7 (from :UInt64, countMax :UInt32) -> Answer(List(HistoryRecord));

  startScrub @8 () -> Answer(Done);     # Continues a paused one. EBUSY: it is running.
  pauseScrub @9 () -> Answer(Done);
  cancelScrub @10 () -> Answer(Done);
  scrubStatus @11 () -> Answer(ScrubStatus);

  sync @12 () -> Answer(Done);          # Everything acknowledged so far is durable.
  grow @13 () -> Answer(PoolStatus);    # Takes in what the file has grown by.
  # Commits and closes; this and all objects below it are refused from then on. EBUSY: volumes are exported and not `force`,
  # which disconnects their clients. Pinned exports come back when the pool is opened at the daemon's start-up.
  close @14 (force :Bool) -> Answer(Done);
  # Reads and checks everything there is; each text is one contradiction. For a pool at rest: EBUSY while it is exported.
  check @15 () -> Answer(List(Text));

  # Runs a channel program as one transaction. Refused only if it cannot be started at all: EAGAIN: there are too many;
  # ENOTSUP: the daemon has no interpreter; E2BIG: the source. How it ends is told by wait().
  startProgram @16 (spec :ProgramSpec) -> Answer(Program);

  # Several verbs as one transaction: all or none. E2BIG: more than 100,000.
  invokeMany @17 (invocations :List(Invocation), dryRun :Bool) -> Answer(Value);

  # Loads an object and names it: it stays in the pool, for links to come, until the verb `unload`.
  loadObject @18 (object :ObjectSpec, name :Text) -> Answer(LoadedObject);
  # Brings the points to exactly these links, all of them pinned, in one transaction and one swap. ESTALE: `revision` is
  # not 0 and links were changed since. `dryRun`: everything but the commit.
  applyLinks @19 (set :LinkSet, revision :UInt64, dryRun :Bool) -> Answer(LinkSetReport);
}

struct Invocation {
  verb @0 :Text;
  arguments @1 :List(Field);
}

# --- Channel programs ------------------------------------------------------------------------------------------------

struct ProgramSpec {
  name @0 :Text;                 # For messages and the history: "rotate.lua".
  source @1 :Data;               # Lua; at most 1 MiB.
  arguments @2 :List(Text);      # The program's argv.
  readOnly @3 :Bool;             # Changes nothing, whatever it does.
  instructionsMax @4 :UInt64;    # 0: the daemon's default.
  memoryBytesMax @5 :UInt64;     # 0: the daemon's default.
  observer @6 :ProgramObserver;  # May be null.
  traces @7 :Bool;               # The observer sees each verb.
  decides @8 :Bool;              # The observer agrees before the commit.
}

# A program under way. When the last holder lets it go (or dies), the program is killed: nothing of it stays.
interface Program {
  wait @0 () -> Answer(ProgramResult);   # Once it has ended; what it changed is durable then.
  kill @1 () -> Answer(Done);            # ENOENT: it has ended.
  info @2 () -> Answer(ProgramInfo);
}

struct ProgramResult {
  errno @0 :Int32;               # 0: it returned, and what it changed is committed.
  errnoName @1 :Text;            # "ECHRNG"
  message @2 :Text;              # One line.
  traceback @3 :Text;
  value @4 :Value;               # What it returned.
  instructions @5 :UInt64;
  memoryPeakBytes @6 :UInt64;
  verbs @7 :UInt64;
  elapsedNs @8 :UInt64;
  txg @9 :UInt64;                # That made it durable; 0: nothing was changed.
}

struct ProgramInfo {
  id @0 :UInt64;
  pool @1 :Text;
  name @2 :Text;
  caller @3 :Text;
  state @4 :State;
  readOnly @5 :Bool;
  verbs @6 :UInt64;
  elapsedNs @7 :UInt64;
  interpreterPid @8 :UInt32;     # 0: none yet.

  enum State {
    waiting @0;                  # For the pool's administrative turn.
    running @1;
    committing @2;
  }
}

# An object of the client's that watches its program, which goes on when the call returns.
interface ProgramObserver {
  saw @0 (event :ProgramEvent) -> ();
  agree @1 (effects :Text) -> (go :Bool);   # `effects`: JSON, as in the history. Not `go`: nothing is committed, EINTR.
}

struct ProgramEvent {
  number @0 :UInt64;             # From 1.
  mode @1 :Text;                 # "check", "sync", "try", "get", "list", "note", ...
  command @2 :Text;              # "create tank/v size=1073741824"
  errno @3 :Int32;
  errnoName @4 :Text;
  message @5 :Text;
  elapsedNs @6 :UInt64;
}

struct PoolStatus {
  name @0 :Text;
  guid @1 :UInt64;
  health @2 :Health;
  failed @3 :Text;               # Why it takes no changes any more; empty: it does.
  readOnly @4 :Bool;
  formatVersion @5 :UInt32;
  blockBytes @6 :UInt32;
  stats @7 :PoolStats;
  scrub @8 :ScrubStatus;
  datasets @9 :UInt64;
  snapshots @10 :UInt64;
  exports @11 :UInt32;
  origin @12 :Text;              # Who opened it: the file named by the operator, or "client".
  transactions @13 :UInt32;      # Administrative commands and programs under way, the waiting ones among them.

  enum Health {
    online @0;
    degraded @1;   # It works, but has seen checksum or I/O errors.
    failed @2;     # It takes no changes; reads may work.
  }
}

struct PoolStats {
  deviceBytes @0 :UInt64;        # Of the file or device now.
  totalBytes @1 :UInt64;         # Of the pool.
  usedBytes @2 :UInt64;
  freeBytes @3 :UInt64;
  dyingBytes @4 :UInt64;         # Free once the next group is durable.
  metadataBytes @5 :UInt64;      # Used by catalog and dead index.
  freeingBytes @6 :UInt64;       # What background jobs still have to free.
  reserveBytes @7 :UInt64;       # Kept for administration.
  dirtyBytes @8 :UInt64;
  userBytesWritten @9 :UInt64;
  deviceBytesWritten @10 :UInt64;
  deviceBytesRead @11 :UInt64;
  blockCacheHits @12 :UInt64;
  blockCacheMisses @13 :UInt64;
  blockCacheBytes @14 :UInt64;
  nodeCacheHits @15 :UInt64;
  nodeCacheMisses @16 :UInt64;
  nodeCacheBytes @17 :UInt64;
  groups @18 :UInt64;            # Transaction groups committed since the pool was opened.
  groupNsLast @19 :UInt64;       # How long the last one took.
  groupNsMax @20 :UInt64;
  groupNsTotal @21 :UInt64;
  logRecords @22 :UInt64;
  logReplayed @23 :UInt64;
  checksumErrors @24 :UInt64;
  ioErrors @25 :UInt64;
  txg @26 :UInt64;               # The durable group.
}

struct ScrubStatus {
  state @0 :State;
  examinedBytes @1 :UInt64;
  toExamineBytes @2 :UInt64;
  errors @3 :UInt64;
  startedS @4 :UInt64;
  endedS @5 :UInt64;             # 0 while it runs.
  damaged @6 :List(Text);        # "tank/vm@s: 4096 bytes at 1048576"; the first 100.

  enum State {
    none @0;
    running @1;
    paused @2;
    finished @3;
  }
}

struct HistoryRecord {
  sequence @0 :UInt64;
  txg @1 :UInt64;
  timeS @2 :UInt64;
  elapsedUs @3 :UInt64;
  who @4 :Text;
  command @5 :Text;
  result @6 :Text;               # "ok", or the error.
  effects @7 :Text;              # JSON; may be empty.
}

# --- Lists and properties --------------------------------------------------------------------------------------------

enum DatasetType {
  group @0;
  volume @1;
  snapshot @2;
  bookmark @3;
}

struct ListQuery {
  roots @0 :List(Text);          # Full names of datasets, snapshots or bookmarks; empty: the whole pool.
  recursive @1 :Bool;
  depthMax @2 :UInt32;           # With `recursive`: levels below the root; 0: all.
  types @3 :List(DatasetType);   # Rows of these types only; empty: groups and volumes, and roots of any type.
  properties @4 :List(Text);     # The columns; empty: for each row all that apply to it, as `get all` shows them.
}

# The rows of a list, parents before children, snapshots of a dataset in order of their creation after the dataset. It
# walks the pool as it is at the time of each next(); what was made or destroyed meanwhile may be in the list or not.
interface Cursor {
  # At most `countMax` rows (0: 1,000; limit 10,000). No rows: that was all.
  next @0 (countMax :UInt32) -> Answer(List(Row));
}

struct Row {
  name @0 :Text;                 # "tank/vm", "tank/vm@s", "tank/vm#mark".
  type @1 :DatasetType;
  values @2 :List(PropertyValue);  # One for each column asked for, in their order.
}

struct PropertyValue {
  name @0 :Text;                 # Only where the columns were not named; else empty.
  value @1 :Text;                # As `-p` prints it: numbers whole, sizes in bytes, times in seconds. "-": does not apply.
  source @2 :Source;
  inheritedFrom @3 :Text;        # The dataset it was inherited from.

  enum Source {
    none @0;                     # "-": a read-only property, or one that does not apply.
    default @1;
    local @2;
    inherited @3;
    received @4;
  }
}

struct PropertyInfo {
  name @0 :Text;
  kind @1 :Kind;                 # How a person wants to see it.
  settable @2 :Bool;
  inheritable @3 :Bool;
  values @4 :Text;               # What it can be: "on | off", "<size> | none".
  appliesTo @5 :List(DatasetType);
  description @6 :Text;          # One line. May be empty.
  column @7 :Text;               # The heading in `list`: "AVAIL". Empty: the name in capitals.

  enum Kind {
    text @0;
    number @1;
    size @2;                     # Bytes.
    time @3;                     # Seconds of the Unix epoch.
    ratio @4;
    flag @5;                     # on | off.
  }
}

struct VerbInfo {
  name @0 :Text;
  description @1 :Text;
  arguments @2 :List(ArgumentInfo);
}

struct ArgumentInfo {
  name @0 :Text;
  type @1 :Text;                 # "text", "number", "flag", "list of text", "map of text".
  required @2 :Bool;
  description @3 :Text;
}

# --- Datasets and snapshots ------------------------------------------------------------------------------------------

struct DatasetInfo {
  name @0 :Text;                 # Full, as it is now.
  type @1 :DatasetType;
  guid @2 :UInt64;
  id @3 :UInt64;                 # Never reused in this pool.
  volsize @4 :UInt64;            # 0 for groups.
}

interface Dataset {
  info @0 () -> Answer(DatasetInfo);
  get @1 (properties :List(Text)) -> Answer(List(PropertyValue));  # Empty: all; names are always set.
  set @2 (properties :List(Setting)) -> Answer(Done);
  inherit @3 (property :Text, recursive :Bool) -> Answer(Done);

  # EBUSY: exported; or it has children, snapshots or clones (their names are in the details) and not `recursive`.
  # `dependents`: clones outside the tree as well (zfs -R).
  destroy @4 (recursive :Bool, dependents :Bool, dryRun :Bool) -> Answer(DestroyReport);
  rename @5 (name :Text, parents :Bool) -> Answer(Done);
  resize @6 (volsize :UInt64) -> Answer(Done);
  promote @7 () -> Answer(Done);
  snapshot @8 (name :Text, recursive :Bool, properties :List(Setting)) -> Answer(Snapshot);  # `name`: the part after @.
  stats @9 () -> Answer(VolumeStats);     # EINVAL: a group.

  # Serves the volume. `socket` null: on the socket that the daemon already listens on at spec.address; ENOENT: there is
  # none, so pass one. EEXIST: exported at that address already. EINVAL: a group; an unknown protocol.
  # `pinned`: recorded in the pool; the daemon binds spec.address itself when it opens the pool at its start-up. Not
  # pinned: the export lives exactly as long as somebody holds the returned capability.
  export @10 (socket :ListenSocket, spec :ExportSpec, pinned :Bool) -> Answer(Export);
  # Ends exports of the volume at `address` (empty: all), pinned or not. EBUSY: clients are connected, and not `force`,
  # which disconnects them. ENOENT: there is none.
  unexport @11 (address :Text, force :Bool) -> Answer(UnexportReport);

  # Attaches eBPF programs to hooks of the volume, or of all volumes below the group. Timers and tracepoints belong to
  # the pool's root: they may be pinned there.
  attach @12 (spec :AttachSpec) -> Answer(Attached);
}

interface Snapshot {
  info @0 () -> Answer(DatasetInfo);
  get @1 (properties :List(Text)) -> Answer(List(PropertyValue));
  set @2 (properties :List(Setting)) -> Answer(Done);
  inherit @3 (property :Text, recursive :Bool) -> Answer(Done);
  # EBUSY: held, exported, or it has clones. `deferred`: then marks it instead, and it goes with the last of those.
  destroy @4 (deferred :Bool, recursive :Bool, dryRun :Bool) -> Answer(DestroyReport);
  rename @5 (name :Text, recursive :Bool) -> Answer(Done);     # `name`: the part after @.
  clone @6 (name :Text, properties :List(Setting), parents :Bool) -> Answer(Dataset);
  # Puts its volume back to it. EBUSY: exported; or there are younger snapshots and not `destroyYounger` (zfs -r).
  rollback @7 (destroyYounger :Bool) -> Answer(Done);
  bookmark @8 (name :Text) -> Answer(Done);                    # `name`: the part after #.
  hold @9 (tag :Text, recursive :Bool) -> Answer(Done);
  release @10 (tag :Text, recursive :Bool) -> Answer(Done);
  holds @11 () -> Answer(List(Hold));
  # As Dataset.export, always read-only.
  export @12 (socket :ListenSocket, spec :ExportSpec, pinned :Bool) -> Answer(Export);
  unexport @13 (address :Text, force :Bool) -> Answer(UnexportReport);
}

struct Hold {
  tag @0 :Text;
  timeS @1 :UInt64;
}

struct DestroyReport {
  destroyed @0 :List(Text);      # Full names, in the order of their destruction; the first 10,000.
  count @1 :UInt64;
  reclaimedBytes @2 :UInt64;     # What it frees, or would free; 0 where it cannot be known.
}

# --- Exports ---------------------------------------------------------------------------------------------------------

struct ExportSpec {
  protocol @0 :Text;             # "nbd".
  address @1 :Text;              # "unix:/run/x.sock", "tcp:HOST:PORT".
  readOnly @2 :Bool;
}

struct ExportInfo {
  name @0 :Text;                 # What clients ask for: the full name of the dataset or snapshot.
  spec @1 :ExportSpec;
  pinned @2 :Bool;
  running @3 :Bool;
  problem @4 :Text;              # Why it is not running: "cannot bind: ...".
  volsize @5 :UInt64;
  connections @6 :UInt32;
  uri @7 :Text;                  # "nbd+unix:///tank/vm?socket=/run/x.sock".
}

interface Export {
  info @0 () -> Answer(ExportInfo);
  unexport @1 (force :Bool) -> Answer(UnexportReport);   # EBUSY: clients are connected and not `force`. ENOENT: gone.
}

struct UnexportReport {
  ended @0 :List(ExportSpec);
  # Addresses that nobody listens on any more. The daemon removes no path: whoever bound a Unix socket unlinks it.
  closed @1 :List(Text);
}

# --- Links: eBPF programs on hook points ------------------------------------------------------------------------------

struct ObjectSpec {
  object @0 :Data;               # An object file of clang's; at most 1 MiB.
  settings @1 :List(Setting);    # Global constants and variables, before verification: "rate" = "1000".
}

struct LoadedObject {
  hash @0 :Text;                 # Of object and settings: 64 hex digits.
  programs @1 :List(LoadedProgram);
}

struct LoadedProgram {
  name @0 :Text;
  hook @1 :Text;                 # "volume.submit", "tracepoint/io_complete".
  tier @2 :Tier;
  instructionsMax @3 :UInt64;    # The most that one run executes, as the verifier found. 0: no bound is known.
}

enum Tier {                      # What a program may rely on: the least of all it touches.
  internal @0;                   # Insides of this build of the daemon.
  stable @1;                     # What will not change.
}

struct AttachSpec {
  object @0 :ObjectSpec;
  # All of one object share its maps. Empty: all programs of the object, one after the other. All or none is attached, in
  # one swap.
  programs @1 :List(ProgramPlace);
  minTier @2 :Tier;              # EPERM: a program's tier is lower.
  pin @3 :Text;                  # Empty: not pinned. Of several programs the names are PIN.PROGRAM.
  revision @4 :UInt64;           # Not 0: ESTALE if links were changed since LinkTable.revision was that.
}

struct ProgramPlace {
  program @0 :Text;
  position :union {
    last @1 :Void;
    first @2 :Void;
    before @3 :UInt64;           # A link's id, at the same point.
    after @4 :UInt64;
  }
  options @5 :LinkOptions;
}

struct LinkOptions {
  goOn @0 :List(Text);           # On which results the next program runs: "pass", "deny", ...; empty: the hook's default.
  onError @1 :ErrorPolicy;
  redirects @2 :List(Text);      # Full names of volumes of the same pool that REDIRECT may choose, by index; at most 8.
  intervalNs @3 :UInt64;         # Of a timer.
  replaces @4 :UInt64;           # The link whose global function this program replaces; 0: none.
  function @5 :Text;             # That function.

  enum ErrorPolicy {
    pass @0;                     # As if the program had not been there.
    deny @1;                     # The request is refused.
  }
}

struct Attached {
  links @0 :List(LinkEntry);
  handle @1 :LinkHandle;         # One descriptor that holds them all. None of pinned ones: null.
  revision @2 :UInt64;
}

# Carries a descriptor. The links that it holds live as long as anybody, anywhere, has a copy of it open.
interface LinkHandle {}

struct LinkEntry {
  link @0 :Link;
  info @1 :LinkInfo;
}

struct LinkTable {
  revision @0 :UInt64;           # Grows with each change of any link.
  links @1 :List(LinkEntry);
  swaps @2 :UInt64;              # Changes since the daemon's start,
  quiescenceNsLast @3 :UInt64;   # and how long the last one took until nothing ran on the set before it,
  quiescenceNsMax @4 :UInt64;
}

# A link lives while anybody holds this capability or a copy of its handle's descriptor, or while it is pinned.
interface Link {
  info @0 () -> Answer(LinkInfo);
  # Another program takes the place of the link's: new maps, the same counters. ESTALE: its object is not `expected`
  # (a hash; empty: any). ENOLINK: it was detached.
  update @1 (object :ObjectSpec, program :Text, expected :Text) -> Answer(LinkInfo);
  detach @2 () -> Answer(Done);            # At once, whoever holds it; also if it is detached already.
  pin @3 (name :Text) -> Answer(Done);     # EINVAL: a host's link. EEXIST.
  unpin @4 () -> Answer(LinkHandle);       # It lives on with its holders.
  handle @5 () -> Answer(LinkHandle);
  maps @6 () -> Answer(List(MapEntry));
}

struct LinkInfo {
  id @0 :UInt64;                 # Never used again by this daemon.
  name @1 :Text;                 # Of a pinned one; else empty.
  hook @2 :Text;
  target @3 :Text;               # Full name of the dataset; empty: the daemon.
  program @4 :Text;
  hash @5 :Text;                 # Of object and settings.
  tier @6 :Tier;
  author @7 :Text;               # Who attached it: "uid=0, pid=17".
  state @8 :State;
  problem @9 :Text;              # Of a broken one: why it does not run.
  runs @10 :UInt64;
  runNs @11 :UInt64;             # Sampled: an estimate of the time spent in all runs.
  drops @12 :UInt64;             # Runs that were left out, since another program ran on that thread.
  errors @13 :UInt64;            # Runs whose result was of no use.
  denials @14 :UInt64;
  instructionsMax @15 :UInt64;
  machineCode @16 :Bool;         # Else it is interpreted.
  position @17 :UInt32;          # At its point, from 0.
  options @18 :LinkOptions;
  settings @19 :List(Setting);
  createdS @20 :UInt64;
  holders @21 :UInt32;           # Capabilities and descriptors of this daemon's making; a copied descriptor counts once.

  enum State {
    attached @0;
    detached @1;
    broken @2;                   # Pinned, but its program cannot be loaded here.
  }
}

struct LinkSet {
  objects @0 :List(ObjectSpec);
  points @1 :List(PointSet);
}

struct PointSet {
  target @0 :Text;               # Full name of a dataset of this pool.
  hook @1 :Text;
  links @2 :List(PinnedLink);    # In the order in which they run.
}

struct PinnedLink {
  name @0 :Text;
  object @1 :UInt32;             # In LinkSet.objects; links of one object share its maps.
  program @2 :Text;              # Empty: the object's only one.
  options @3 :LinkOptions;
}

struct LinkSetReport {
  revision @0 :UInt64;           # After it.
  attached @1 :List(Text);       # Names of links.
  replaced @2 :List(Text);
  detached @3 :List(Text);       # Of those not pinned: "#12".
  kept @4 :List(Text);
}

# --- Maps of programs ------------------------------------------------------------------------------------------------

struct MapEntry {
  map @0 :Map;
  info @1 :MapInfo;
}

struct MapInfo {
  id @0 :UInt64;
  name @1 :Text;
  kind @2 :Text;                 # "hash", "array", "percpu_array", "ringbuf", ...
  keySize @3 :UInt32;
  valueSize @4 :UInt32;          # Of one slot.
  valueBytes @5 :UInt32;         # As read and written from outside: of all slots.
  maxEntries @6 :UInt32;
  readOnly @7 :Bool;             # Programs do not write it.
  frozen @8 :Bool;               # Nobody does.
  links @9 :List(UInt64);        # Those whose programs use it.
  keyType @10 :UInt32;           # In Map.types; 0: unknown.
  valueType @11 :UInt32;
}

# The map lives at least as long as this.
interface Map {
  info @0 () -> Answer(MapInfo);
  get @1 (key :Data) -> Answer(Data);                        # ENOENT; EINVAL: the key's size.
  set @2 (key :Data, value :Data, create :Bool, replace :Bool) -> Answer(Done);  # Neither: whichever. EPERM: frozen.
  remove @3 (key :Data) -> Answer(Done);
  # At most `countMax` (0: 1,000; limit 10,000) elements behind `after` (empty: from the beginning).
  dump @4 (after :Data, countMax :UInt32) -> Answer(List(MapElement));
  ring @5 () -> Answer(RingFiles);                           # EINVAL: it is no ring buffer.
  types @6 () -> Answer(Data);                               # BTF of the object that made it; may be empty.
  # Keeps what is in the map now with the pinned links that use it: restored with them. EINVAL: no link is pinned.
  pin @7 () -> Answer(Done);
}

struct MapElement {
  key @0 :Data;
  value @1 :Data;
}

# The two files of a ring buffer and the event that tells of records, for its one consumer.
struct RingFiles {
  consumer @0 :File;             # One page, to be written by the consumer.
  ring @1 :File;                 # Read only: the producer's page, then the data.
  event @2 :File;                # An eventfd.
  bytes @3 :UInt32;              # Of data.
}

# --- Tracepoints -----------------------------------------------------------------------------------------------------

struct TracepointInfo {
  name @0 :Text;
  tier @1 :Tier;
  view @2 :Text;                 # The structure that programs see, or of internal ones the arguments in words.
  bytes @3 :UInt32;              # Of the view.
  programs @4 :UInt32;           # Attached now.
}

struct HostTypes {
  btf @0 :Data;
  buildId @1 :Text;
}

# --- Statistics of a volume ------------------------------------------------------------------------------------------

struct IoStats {
  operations @0 :UInt64;
  bytes @1 :UInt64;
  errors @2 :UInt64;
  latencyNsTotal @3 :UInt64;
  latencyBuckets @4 :List(UInt64);  # Bucket i counts requests of [2^i, 2^(i+1)) ns; 40 buckets.
}

struct VolumeStats {
  read @0 :IoStats;
  write @1 :IoStats;
  flush @2 :IoStats;
  discard @3 :IoStats;           # Writing zeroes as well.
  checksumErrors @4 :UInt64;
}

struct VolumeStatus {
  name @0 :Text;
  stats @1 :VolumeStats;
  connections @2 :UInt32;
}
