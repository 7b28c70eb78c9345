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
