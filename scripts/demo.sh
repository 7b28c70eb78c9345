#!/bin/bash
# demo.sh BIN: the main job on a real image, in a folder of its own. Prints every command and what came back; ends with
# "demo: done", or at the first failure with a status that is not 0.
set -euo pipefail
bin=$(cd "$1" && pwd)
export PATH="$bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The folder lies beside the build (a real disk); the sockets in a short path of their own.
folder=$(mktemp -d "$(dirname "$bin")/demo-XXXXXX")
sockets=$(mktemp -d /tmp/coppice-demo-XXXXXX)
export COPPICE_SOCKET=$sockets/control
export DATA=$sockets/nbd
daemon=

finish() {
  status=$?
  [[ -z $daemon ]] || { kill -9 "$daemon" && wait "$daemon"; } 2>/dev/null || true
  if [[ $status -ne 0 ]]; then
    echo "demo: failed with status $status; the daemon's log:" >&2
    tail -n 40 "$folder/coppiced.log" >&2 || true
  fi
  rm -rf "$folder" "$sockets"
  exit "$status"
}
trap finish EXIT
cd "$folder"

say() { printf '\n# %s\n' "$*"; }
run() {
  printf '$ %s\n' "$*"
  "$@"
}
refused() {
  printf '$ %s\n' "$*"
  local status=0
  "$@" || status=$?
  [[ $status -eq 1 ]] || { echo "demo: expected a refusal (1), got $status" >&2; exit 1; }
}
start() {
  printf '$ coppiced --socket %s &\n' "$COPPICE_SOCKET${*:+ $*}"
  coppiced --socket "$COPPICE_SOCKET" "$@" >>coppiced.log 2>&1 &
  daemon=$!
  for _ in $(seq 300); do
    coppice status >/dev/null 2>&1 && return
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  echo "demo: coppiced does not answer" >&2
  exit 1
}
uri() { echo "nbd+unix:///$1?socket=$DATA"; }

say "An ext4 image with real files in it."
mkdir files
cp -rL /usr/share/common-licenses files/
find /usr/include -maxdepth 1 -name '*.h' -exec cp -t files/ {} +
run mkfs.ext4 -q -F -d files image 64M
run ls -ls image

say "The daemon, a pool in a file, a volume in the pool."
start
run coppice pool create tank pool --size 1G
run coppice create tank/vms
run coppice create tank/vms/root -V 64M -o ops:owner=ann
run coppice list -r

say "The volume as a block device over NBD; the image put on it."
run coppice export tank/vms/root --nbd "unix:$DATA"
run nbdcopy --flush image "$(uri tank/vms/root)"
run nbdinfo "$(uri tank/vms/root)"
run qemu-img compare -f raw -F raw image "$(uri tank/vms/root)"

say "A snapshot, and a clone that shares every block with it."
run coppice snapshot tank/vms/root@installed
run coppice clone tank/vms/root@installed tank/vms/branch
run coppice export tank/vms/branch --nbd "unix:$DATA"
run qemu-img compare -f raw -F raw image "$(uri tank/vms/branch)"
run coppice list -r -t all -o name,used,referenced,volsize,origin

say "The clone is changed; its origin is not."
cp image changed
printf '$ debugfs -w -R "write coppiced.log added.log" changed\n'
debugfs -w -R "write coppiced.log added.log" changed 2>/dev/null
run nbdcopy --flush changed "$(uri tank/vms/branch)"
run qemu-img compare -f raw -F raw changed "$(uri tank/vms/branch)"
run qemu-img compare -f raw -F raw image "$(uri tank/vms/root)"

say "kill -9, and start again: pools, volumes and exports come back by themselves."
printf '$ kill -9 %s\n' "$daemon"
kill -9 "$daemon"
wait "$daemon" 2>/dev/null || true
start --pool "$folder/pool"
run coppice exports
run qemu-img compare -f raw -F raw changed "$(uri tank/vms/branch)"
run nbdcopy "$(uri tank/vms/branch)" back
run e2fsck -fn back

say "What is refused says why."
refused coppice destroy tank/vms/root@installed
refused coppice destroy -r tank/vms/root
refused coppice create tank/vms/root -V 1G
refused coppice pool open "$folder/image"

say "The volume is spoilt, then rolled back."
run qemu-io -f raw -c "write -P 0xff 0 4M" "$(uri tank/vms/root)"
run coppice unexport tank/vms/root
run coppice rollback tank/vms/root@installed
run coppice export tank/vms/root --nbd "unix:$DATA"
run qemu-img compare -f raw -F raw image "$(uri tank/vms/root)"

say "Properties, numbers, history; a scrub reads and checks everything."
run coppice pool sync tank
run coppice get used,referenced,written,ops:owner tank/vms/root
run coppice pool scrub -w tank
run coppice pool status tank
run coppice history tank

say "The clone takes the origin's place; all is destroyed and the space comes back."
run coppice promote tank/vms/branch
run coppice unexport tank/vms/root
run coppice unexport tank/vms/branch
run coppice destroy -r -n tank/vms
run coppice destroy -r tank/vms
run coppice list -r

printf '\n$ kill %s\n' "$daemon"
kill "$daemon"
wait "$daemon"
daemon=
echo "demo: done"
