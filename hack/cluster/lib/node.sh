# shellcheck shell=bash
# Sourced: the nodes. A node is a machine within this one: a pid, a network and
# a mount namespace that live as long as their first process, "machine init
# nodeN". When that one ends the kernel ends all others in it, and with the last
# of them go the mounts, the links, the routes and the packet filter.
#
# In its mount namespace /run, /var/lib and /var/log are the node's own, so the
# daemons keep their usual paths and write nothing to this machine.

# own_pids: every process of this cluster that this machine sees as its own: the
# first process of each node, and the forwarders. Their executable is the mark.
own_pids() {
  find /proc/[0-9]*/exe -maxdepth 0 -lname "$BIN/machine*" -printf '%h\n' 2>/dev/null | sed 's#/proc/##' || true
}

# own_pid ARGUMENTS: the one that was started with these arguments.
own_pid() {
  local pid line
  for pid in $(own_pids); do
    line=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || continue
    if [ "${line#* }" = "$* " ]; then
      echo "$pid"
      return 0
    fi
  done
  return 1
}

node_pid() { own_pid init "node$1"; }
node_address() { echo "$NODE_NET.$(($1 + 1))"; }
node_pods() { echo "$POD_NET.$(($1 - 1)).0/24"; }

# nodes: the numbers of the nodes that run.
nodes() {
  local n
  for n in 1 2 3 4 5 6 7 8 9; do
    if node_pid "$n" >/dev/null; then echo "$n"; fi
  done
}

# in_node N COMMAND...
in_node() {
  local pid
  pid=$(node_pid "$1") || die "node$1 does not run"
  shift
  nsenter --target "$pid" --mount --net --pid -- "$@"
}

# daemon N NAME COMMAND...: starts the command in node N, in the background and
# without this shell's environment.
daemon() {
  local n=$1 name=$2 pid
  pid=$(node_pid "$n") || die "node$n does not run"
  shift 2
  mkdir -p "$RUN/node$n/pids"
  setsid nsenter --target "$pid" --mount --net --pid -- \
    env -i PATH="$PATH" HOME=/root "$@" >"$LOG/node$n-$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$RUN/node$n/pids/$name"
}

# daemons_run N: whether every daemon that was started in node N still runs.
daemons_run() {
  local file name
  for file in "$RUN/node$1"/pids/*; do
    name=${file##*/}
    grep -qs -- "$name" "/proc/$(cat "$file")/cmdline" || return 1
  done
}

# create_node N: its namespaces, its part of the file system, its link.
create_node() {
  local n=$1 dir=$RUN/node$1 pid
  mkdir -p "$dir/lib/kubelet" "$dir/log"
  # Private first: on most machines / is shared, and mounts would leak out.
  setsid unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private -- \
    "$BIN/machine" init "node$n" >"$LOG/node$n.log" 2>&1 </dev/null 9>&- &
  until_true 10 "node$n starts" node_pid "$n"
  pid=$(node_pid "$n")
  # Then shared within: kubelet and containerd pass mounts on to each other.
  in_node "$n" sh -e -c "
    mount --no-mtab -t tmpfs -o mode=755 tmpfs /run
    mount --make-rshared /
    mount --no-mtab --bind '$dir/lib' /var/lib
    mount --no-mtab --bind '$dir/log' /var/log
    sysctl -qw net.ipv4.ip_forward=1"
  pretend_sysctls "$n"
  create_cgroup "node$n"
  connect_node "$n" "$pid"
}

# pretend_sysctls N: kubelet insists on these, and they are this machine's. It
# finds them as it wants, and so leaves them alone.
pretend_sysctls() {
  local n=$1 dir=$RUN/node$1/sysctls key value
  mkdir -p "$dir"
  while read -r key value; do
    echo "$value" >"$dir/${key##*/}"
    in_node "$n" mount --no-mtab --bind "$dir/${key##*/}" "/proc/sys/$key" </dev/null
  done <<EOF
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
EOF
}

# connect_node N PID: a cable to the bridge. There is no default route: nothing
# in the cluster can reach beyond it.
connect_node() {
  local n=$1 pid=$2 other
  ip link add "shop-node$n" type veth peer name eth0 netns "$pid"
  ip link set "shop-node$n" master "$BRIDGE" up
  in_node "$n" sh -e -c "
    ip link set lo up
    ip addr add $(node_address "$n")/24 dev eth0
    ip link set eth0 up
    ip route add $SERVICE_NET.0.0/16 dev eth0" # found before kube-proxy rewrites it
  ip route add "$(node_pods "$n")" via "$(node_address "$n")" # so that tests can reach pods
  for other in $(nodes); do
    [ "$other" != "$n" ] || continue
    in_node "$n" ip route add "$(node_pods "$other")" via "$(node_address "$other")"
    in_node "$other" ip route add "$(node_pods "$n")" via "$(node_address "$n")"
  done
}

# create_bridge: its alias names the folder that it belongs to.
create_bridge() {
  ip link add "$BRIDGE" type bridge
  ip link set "$BRIDGE" alias "$STATE" up
  ip addr add "$NODE_NET.1/24" dev "$BRIDGE"
  ip route add "$SERVICE_NET.0.0/16" via "$(node_address 1)"
}

# create_cgroup NAME: each kubelet keeps its pods under a group of its own, in
# the one hierarchy of cgroup v2 or in each of v1.
create_cgroup() {
  local controllers=/sys/fs/cgroup/cgroup.controllers group
  if [ -e "$controllers" ]; then
    for group in /sys/fs/cgroup /sys/fs/cgroup/shopkeeper; do
      mkdir -p "$group"
      sed 's/\</+/g' "$controllers" >"$group/cgroup.subtree_control"
    done
    mkdir -p "/sys/fs/cgroup/shopkeeper/$1"
    return
  fi
  for group in /sys/fs/cgroup/*/; do
    [ "$group" = /sys/fs/cgroup/unified/ ] || mkdir -p "${group}shopkeeper/$1"
  done
}

# start_containerd N
start_containerd() {
  local n=$1 config=$RUN/node$1
  cat >"$config/containerd.toml" <<EOF
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"] # would make /opt/containerd
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:local"
  restrict_oom_score_adj = true # else runc fails where root lacks CAP_SYS_RESOURCE
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$config/cni"
EOF
  mkdir -p "$config/cni"
  # A link per pod and no bridge: what pods say to each other is routed, and so
  # passes the packet filter without the br_netfilter module.
  cat >"$config/cni/pods.conflist" <<EOF
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "$(node_pods "$n")"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
  daemon "$n" containerd containerd --config "$config/containerd.toml"
  until_true 30 "containerd on node$n answers" in_node "$n" ctr version
}

# load N ARCHIVE...: imports images that the node does not have yet.
load() {
  local n=$1 archive
  shift
  mkdir -p "$RUN/node$n/loaded"
  for archive in "$@"; do
    if absent "$n" "$archive"; then
      in_node "$n" ctr --namespace k8s.io images import - <"$archive"
      touch -r "$archive" "$RUN/node$n/loaded/${archive##*/}"
    fi
  done
}

# absent N ARCHIVE: whether this state of the archive is not yet in the node; a
# mark there has the archive's own time.
absent() {
  local mark=$RUN/node$1/loaded/${2##*/}
  [ ! -e "$mark" ] || [ "$2" -nt "$mark" ] || [ "$2" -ot "$mark" ]
}

load_everywhere() {
  local n
  for n in $(nodes); do
    load "$n" "$@"
  done
}

# start_kubelet N: kubelet, kube-proxy and the network policies of a node.
start_kubelet() {
  local n=$1 config=$RUN/node$1 pki=$RUN/pki name=node$1
  kubeconfig "$config/kubelet.conf" "system:node:$name" system:nodes
  : >"$config/resolv.conf" # no name is asked of the machine's resolver
  cat >"$config/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /shopkeeper/$name
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: [$SERVICE_NET.0.10]
resolvConf: $config/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
failSwapOn: false
oomScoreAdj: 0
imageGCHighThresholdPercent: 100 # nobody could give a collected image back
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
shutdownGracePeriod: 0s
EOF
  cat >"$config/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $POD_NET.0.0/16
hostnameOverride: $name
clientConnection: {kubeconfig: $RUN/kube-proxy.conf}
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0} # the limit belongs to the machine
EOF
  daemon "$n" kubelet "$BIN/kubelet" --config="$config/kubelet.yaml" --kubeconfig="$config/kubelet.conf" \
    --hostname-override="$name" --node-ip="$(node_address "$n")"
  daemon "$n" kube-proxy "$BIN/kube-proxy" --config="$config/kube-proxy.yaml"
  daemon "$n" netpol "$BIN/netpol" --kubeconfig="$RUN/netpol.conf" --node="$name"
}

# join_node N: a whole node, up to Ready.
join_node() {
  create_node "$1"
  start_containerd "$1"
  load "$1" "$IMAGES"/*.tar
  start_kubelet "$1"
  wait_for_node "$1"
}

wait_for_node() {
  until_true 60 "node$1 registers" kubectl get node "node$1"
  kubectl wait --for=condition=Ready "node/node$1" --timeout=120s
}
