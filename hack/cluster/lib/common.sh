# shellcheck shell=bash disable=SC2034
# Sourced by every command here: where things are and how progress is shown.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) # hack/cluster
REPO=$(cd "$HERE/../.." && pwd)
STATE=${SHOPKEEPER_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/shopkeeper}
BIN=$STATE/bin       # what was built
IMAGES=$STATE/images # container images, as archives
RUN=$STATE/run       # the cluster that runs; gone after "down"
LOG=$STATE/log
export PATH=$BIN:$PATH:/usr/sbin:/sbin

KUBECONFIG_FILE=$STATE/kubeconfig
BRIDGE=shopkeeper0
NODE_NET=10.250.0 # .1 is this machine, .2 the first node, and so on
POD_NET=10.244    # the first node's pods are in .0.0/24
SERVICE_NET=10.96
export no_proxy=localhost,127.0.0.1,$NODE_NET.0/24,$POD_NET.0.0/16,$SERVICE_NET.0.0/16
export NO_PROXY=$no_proxy

# One set of build flags everywhere, so that the Go build cache is shared by all
# commands and all clones. Without "direct" a module that the proxy does not
# have is an error at once, and not a wait for a git server.
export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS='-trimpath -buildvcs=false'
if command -v go >/dev/null; then
  GOPROXY=$(go env GOPROXY)
  export GOPROXY=${GOPROXY%,direct}
fi

VERSION=${VERSION:-$(sed -n 's/^VERSION *[:?]*= *//p' "$REPO/Makefile" 2>/dev/null)}

say() { echo "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# module_version MODULE: the version that go.mod asks for.
module_version() { awk -v m="$1" '$1 == m {print $2; exit}' "$HERE/go.mod"; }

# take_turn: one command at a time; daemons must not inherit descriptor 9.
take_turn() {
  mkdir -p "$STATE" "$LOG"
  exec 9>"$STATE/lock"
  flock --nonblock 9 && return
  say "waiting for another command, or what is left of one, to end"
  flock --timeout 300 9 || die "another command is at work on $STATE"
}

# step TITLE COMMAND...: runs the command with its output in a log file, says
# how long it took, and ends with the log's last lines if it failed.
STEPS=0 STEP=0
step() {
  local title=$1 log begin=$SECONDS status
  shift
  heading "$title"
  log=$LOG/step-$STEP.log
  tick "$log" 9>&- &
  TICKER=$!
  trap 'kill "$TICKER" 2>/dev/null || true' EXIT
  # The subshell is not part of a condition, where "set -e" would not count.
  set +e
  (
    set -e
    trap - EXIT
    "$@"
  ) >"$log" 2>&1
  status=$?
  set -e
  kill "$TICKER" 2>/dev/null || true
  if [ $status != 0 ]; then
    tail -n 20 "$log" | sed 's/^/    /' >&2
    die "\"$title\" failed; the whole log: $log"
  fi
  say "    $((SECONDS - begin)) s"
}

# shown_step TITLE COMMAND...: a step whose output is its progress.
shown_step() {
  local begin=$SECONDS
  heading "$1"
  shift
  "$@" 2>&1 | sed -u 's/^/    /' >&2
  say "    $((SECONDS - begin)) s"
}

heading() {
  STEP=$((STEP + 1))
  say "==> [$STEP/$STEPS] $1"
}

# tick LOG: a sign of life every minute, as long as the command lives. It waits
# on a pipe that nobody writes to, since a sleep would outlive it.
tick() {
  local begin=$SECONDS line never
  exec {never}<> <(:)
  while read -rt 60 -u "$never" || kill -0 $$ 2>/dev/null; do
    line=$(tail -n 1 "$1")
    say "    … $(((SECONDS - begin) / 60)) min: ${line:0:100}"
  done
}

# until_true SECONDS WHAT COMMAND...: tries again until it succeeds.
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until ("$@") >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "$what: not so in time; the logs are in $LOG"
    sleep 0.2
  done
}
