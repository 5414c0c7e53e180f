# shellcheck shell=bash
# Sourced: says what a machine lacks, and the cure, before anything is done.

PACKAGES="containerd runc containernetworking-plugins iptables nftables conntrack iproute2 procps kmod util-linux busybox-static mmdebstrap ca-certificates"
PORTS="8000 8001" # of 127.0.0.1: REST and notifications

check_machine() {
  if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
    die "a cluster needs Linux and root. Without them: \"go run ./server\" is the shop alone; with a cluster of yours, set KUBECONFIG, or \"helm install shopkeeper charts/shopkeeper\""
  fi
  command -v apt-get >/dev/null || die "apt-get is missing: this works on Debian and its relatives"
  check_go
  "$REPO/hack/setup" iproute2 procps # ip, ss and ps, for the checks below
  check_folder
  refuse_foreign
  check_networks
  check_ports
}

check_go() {
  local version
  command -v go >/dev/null || die "Go is missing: install 1.26 or later"
  version=$(go env GOVERSION)
  if [ "$(printf 'go1.26\n%s\n' "$version" | sort -V | head -n 1)" != go1.26 ]; then
    die "$version is too old: install Go 1.26 or later"
  fi
}

check_folder() {
  local free need=8
  case $STATE/ in
    /run/* | /var/lib/* | /var/log/*) die "SHOPKEEPER_HOME cannot be below /run, /var/lib or /var/log: a node has its own of those" ;;
  esac
  [ ! -x "$BIN/traefik" ] || need=2
  mkdir -p "$STATE"
  free=$(df --output=avail --block-size=1G "$STATE" | tail -n 1)
  [ "$free" -ge $need ] || die "$STATE has $free GB free and $need are needed; set SHOPKEEPER_HOME to a larger disk"
  [ -d /sys/fs/cgroup/memory ] || [ -e /sys/fs/cgroup/cgroup.controllers ] || die "no cgroups are mounted at /sys/fs/cgroup"
}

# check_networks: the cluster's addresses must not be somebody else's.
check_networks() {
  local network
  [ ! -e "/sys/class/net/$BRIDGE" ] || return 0
  for network in "$NODE_NET.0/24" "$POD_NET.0.0/16" "$SERVICE_NET.0.0/16"; do
    if [ -n "$(ip -4 route show root "$network")$(ip -4 route show match "$network" | grep -v ^default)" ]; then
      die "the network $network is in use here (ip route); the cluster needs it for itself"
    fi
  done
}

check_ports() {
  local port
  for port in $PORTS; do
    if ! own_pid forward "127.0.0.1:$port" "$(node_address 1):80" >/dev/null &&
      ss -Hltn "sport = :$port" | grep -qE ' (127\.0\.0\.1|0\.0\.0\.0|\*|\[::\]):'; then
      die "port $port of 127.0.0.1 is in use; \"ss -ltnp sport = :$port\" says by whom"
    fi
  done
}

# install_packages: those that are missing; what they bring is not started.
install_packages() {
  # shellcheck disable=SC2086 # a list
  "$REPO/hack/setup" $PACKAGES
}
