# shellcheck shell=bash
# Sourced: takes a cluster away, whole or cut off in any state. What is not there
# is no error, so it serves before a start just as well.

# refuse_foreign: addresses are fixed, so there is one cluster on a machine.
refuse_foreign() {
  local owner
  owner=$(cat "/sys/class/net/$BRIDGE/ifalias" 2>/dev/null || true)
  if [ -n "$owner" ] && [ "$owner" != "$STATE" ]; then
    die "a cluster of another folder runs; to end it: SHOPKEEPER_HOME=$owner hack/cluster/down"
  fi
}

clean() {
  refuse_foreign
  kill_own
  ip link delete "$BRIDGE" 2>/dev/null || true
  remove_links
  remove_cgroups
  rm -rf --one-file-system "$RUN" "$KUBECONFIG_FILE"
}

# kill_own: the first process of a node takes all others of the node with it.
kill_own() {
  local pid
  for pid in $(own_pids); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  until_true 30 "the cluster's processes end" no_own_pids
}

no_own_pids() { [ -z "$(own_pids)" ]; }

# remove_links: a node's cable goes with the node, unless it never got there.
remove_links() {
  local link
  for link in /sys/class/net/shop-node*; do
    [ ! -e "$link" ] || ip link delete "${link##*/}" 2>/dev/null || true
  done
}

remove_cgroups() {
  local group
  for group in /sys/fs/cgroup/shopkeeper /sys/fs/cgroup/*/shopkeeper; do
    [ ! -d "$group" ] || until_true 20 "$group is empty" remove_tree "$group"
  done
}

remove_tree() {
  find "$1" -depth -type d -exec rmdir {} \; || true
  [ ! -d "$1" ]
}
