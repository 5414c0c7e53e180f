# shellcheck shell=bash disable=SC2034
# Sourced: builds the programs of this module into $BIN, each only when what it
# is made from has changed.

KUBERNETES=$(module_version k8s.io/kubernetes)
ETCD=$(module_version go.etcd.io/etcd/server/v3)
TRAEFIK=$(module_version github.com/traefik/traefik/v3)
LOCAL_PATH=$(module_version github.com/rancher/local-path-provisioner)
COMPONENTS="etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl"

# build_control_plane: Kubernetes and etcd, one binary with a link per component.
build_control_plane() {
  local minor=${KUBERNETES#v1.} v=k8s.io/component-base/version name
  minor=${minor%%.*}
  build kubernetes ./kubernetes "-X $v.gitVersion=$KUBERNETES -X $v.gitMajor=1 -X $v.gitMinor=$minor -X $v.gitTreeState=clean -X $v.gitCommit=release"
  for name in $COMPONENTS; do
    ln -sf kubernetes "$BIN/$name"
  done
}

# build_tools: our own small programs.
build_tools() {
  local name
  for name in machine mkimage netpol probe; do
    build "$name" "./$name"
  done
}

# build_addons: what runs in the cluster.
build_addons() {
  build coredns ./coredns
  build local-path-provisioner github.com/rancher/local-path-provisioner "-X main.VERSION=$LOCAL_PATH"
  write_overlay
  GOFLAGS="$GOFLAGS -overlay=$STATE/overlay.json" \
    build traefik github.com/traefik/traefik/v3/cmd/traefik "-X github.com/traefik/traefik/v3/pkg/version.Version=$TRAEFIK"
}

# build NAME PACKAGE [LDFLAGS]: one at a time, should two commands want the same.
build() {
  mkdir -p "$BIN"
  (
    flock 8
    build_if_changed "$1" "$2" "-s -w ${3:-}"
  ) 8>"$BIN/.$1.lock"
}

build_if_changed() {
  local name=$1 package=$2 ldflags=$3 stamp
  stamp=$(inputs "$name" "$package" "$ldflags")
  if [ -x "$BIN/$name" ] && [ "$(cat "$BIN/.$name.inputs" 2>/dev/null)" = "$stamp" ]; then
    return
  fi
  say "building $name"
  cd "$HERE" || exit
  go build -ldflags "$ldflags" -o "$BIN/.$name.new" "$package"
  mv "$BIN/.$name.new" "$BIN/$name" # a running program keeps its old file
  echo "$stamp" >"$BIN/.$name.inputs"
}

# inputs NAME...: a digest of all that the program is made from.
inputs() {
  local sources=$HERE/$1
  {
    printf '%s\n' "$@" "$(go env GOVERSION GOARCH)"
    cat "$HERE/go.mod" "$HERE/go.sum"
    if [ -d "$sources" ]; then
      find "$sources" -type f -print0 | sort -z | xargs -0 cat
    fi
  } | sha256sum | cut -d ' ' -f 1
}

# write_overlay: two of Traefik's dependencies need a change to build from
# published modules (see traefik/README.md). Their modules are replaced by the
# folders traefik/http-auth and traefik/lego, which hold only what is ours; the
# overlay lets the compiler see the rest of each module there.
write_overlay() {
  {
    echo '{"Replace": {'
    {
      overlay_files http-auth github.com/abbot/go-http-auth
      overlay_files lego github.com/go-acme/lego/v5
    } | sed '$s/,$//'
    echo '}}'
  } >"$STATE/overlay.json"
}

# overlay_files FOLDER MODULE: a line for each file that the folder lacks.
overlay_files() {
  local folder=$HERE/traefik/$1 module=$2 source file
  source=$(cd / && go mod download -json "$module@$(module_version "$module")" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [ -d "$source" ] || die "module $module was not downloaded"
  find "$source" -name '*.go' ! -name '*_test.go' ! -path "$source/providers/dns/*" -printf '%P\n' | while read -r file; do
    [ -e "$folder/$file" ] || printf '"%s": "%s",\n' "$folder/$file" "$source/$file"
  done
}
