# shellcheck shell=bash disable=SC2153
# Sourced: makes container images as archives in $IMAGES, out of the programs in
# $BIN and of Debian packages. No registry is asked.

PRODUCT=localhost/shopkeeper

# base_images: what the cluster itself runs, and the databases of a Shop.
base_images() {
  mkdir -p "$IMAGES"
  program_image pause machine -entrypoint /machine -cmd init -cmd pod
  program_image coredns coredns -entrypoint /coredns
  program_image traefik traefik -entrypoint /traefik
  program_image probe probe -entrypoint /probe -cmd serve -user 65532:65532
  program_image local-path-provisioner local-path-provisioner -entrypoint /local-path-provisioner
  busybox_image
  database_images
}

# program_image NAME PROGRAM FLAG...: an image of one static program.
program_image() {
  local name=$1 program=$2
  shift 2
  if outdated "$IMAGES/$name.tar" "$BIN/$program" "$HERE/lib/images.sh"; then
    mkimage -o "$IMAGES/$name.tar" -t "localhost/$name:local" "$@" "$BIN/$program:/$program"
  fi
}

# outdated FILE SOURCE...: whether the file is missing or older than a source.
outdated() {
  local file=$1 source
  shift
  for source in "$@"; do
    [ "$file" -nt "$source" ] || return 0
  done
  return 1
}

# busybox_image: a shell with the usual commands, for the volume provisioner.
busybox_image() {
  local root
  outdated "$IMAGES/busybox.tar" /bin/busybox "$HERE/lib/images.sh" || return 0
  root=$(mktemp -d "$STATE/busybox.XXXXXX")
  add_busybox "$root"
  echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
  mkimage -o "$IMAGES/busybox.tar" -t localhost/busybox:local -cmd /bin/sh "$root:/"
  rm -rf "$root"
}

# add_busybox ROOT: Debian's static busybox, with a link for each command.
add_busybox() {
  local command
  mkdir -p "$1/bin" "$1/etc"
  cp /bin/busybox "$1/bin/busybox"
  for command in $(/bin/busybox --list); do
    [ "$command" = busybox ] || ln -s busybox "$1/bin/$command"
  done
}

# database_images: PostgreSQL 15 and Redis 7 out of Debian 12's packages, which
# are unpacked without their maintainer scripts.
database_images() {
  local work
  outdated "$IMAGES/postgres.tar" "$HERE/lib/images.sh" "$HERE/lib/postgres-entrypoint.sh" ||
    outdated "$IMAGES/redis.tar" "$HERE/lib/images.sh" || return 0
  work=$(mktemp -d "$STATE/debian.XXXXXX")
  # In a mount namespace, so that its mounts leave no trace in /run.
  unshare --mount sh -c 'mount --no-mtab -t tmpfs tmpfs /run; exec "$@"' sh \
    mmdebstrap --variant=extract --include=postgresql-15,redis-server,libc-bin,tzdata bookworm "$work/debian"
  postgres_image "$work/debian" "$work/postgres"
  redis_image "$work/debian" "$work/redis"
  rm -rf "$work"
}

postgres_image() {
  local debian=$1 root=$2 lib=usr/lib/postgresql/15
  rm -rf "$debian/$lib"/lib/bitcode "$debian/$lib"/lib/llvmjit* # the JIT is 100 MB; without it PostgreSQL plans without it
  slim "$debian" "$root" "$lib" usr/share/postgresql/15 usr/lib/locale/C.utf8 usr/share/zoneinfo
  add_busybox "$root"
  echo "listen_addresses = '*'" >>"$root/usr/share/postgresql/15/postgresql.conf.sample"
  install -m 755 "$HERE/lib/postgres-entrypoint.sh" "$root/docker-entrypoint.sh"
  printf 'root:x:0:0::/:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\npostgres:x:999:\n' >"$root/etc/group"
  mkimage -o "$IMAGES/postgres.tar" -t localhost/postgres:15 -user 999:999 \
    -entrypoint /docker-entrypoint.sh -cmd postgres \
    -env "PATH=/$lib/bin:/usr/bin:/bin" -env PGDATA=/var/lib/postgresql/data \
    -dir /var/lib/postgresql:1777:999:999 -dir /var/lib/postgresql/data:1777:999:999 -dir /var/run/postgresql:3777:999:999 "$root:/"
}

redis_image() {
  local debian=$1 root=$2
  slim "$debian" "$root" usr/bin/redis-server usr/bin/redis-check-rdb usr/bin/redis-cli
  add_busybox "$root"
  printf 'root:x:0:0::/:/bin/sh\nredis:x:999:999::/data:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\nredis:x:999:\n' >"$root/etc/group"
  mkimage -o "$IMAGES/redis.tar" -t localhost/redis:7 -user 999:999 -cmd redis-server \
    -env PATH=/usr/bin:/bin -dir /data:1777:999:999 "$root:/"
}

# slim DEBIAN ROOT PATH...: copies the paths, and each library that the programs
# among them load, as the loader itself finds them.
slim() {
  local debian=$1 root=$2 loader file
  shift 2
  mkdir -p "$root/usr/lib" "$root/usr/lib64"
  ln -s usr/lib "$root/lib"
  ln -s usr/lib64 "$root/lib64"
  (cd "$debian" && cp -a --parents "$@" "$root")
  loader=$(cd "$debian" && find lib/ lib64/ -maxdepth 1 -name 'ld-linux-*' -printf '/%p\n' | head -n 1)
  install -D "$debian$loader" "$root$loader"
  # What is no ELF program the loader refuses; it prints "name => /path (address)".
  find "$root/usr" -type f \( -perm /111 -o -name '*.so*' \) -printf '/usr/%P\n' | while read -r file; do
    chroot "$debian" "$loader" --list "$file" 2>/dev/null || true
  done | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u | while read -r file; do
    [ -e "$root$file" ] || install -D "$debian$file" "$root$file"
  done
}

# product_image server|operator VERSION [GO-OVERLAY]
product_image() {
  local name=$1 version=$2 overlay=${3:-} package root tar
  case $name in
    server) package=./server ;;
    operator) package=./controllers ;;
    *) die "no image named $name: server or operator" ;;
  esac
  [ -n "$version" ] || die "VERSION is not set, and the Makefile does not say"
  mkdir -p "$IMAGES" "$BIN"
  tar=$IMAGES/shopkeeper-$name-$version.tar
  root=$(mktemp -d "$STATE/$name.XXXXXX")
  (cd "$REPO" && go build ${overlay:+-overlay "$overlay"} -ldflags "-s -w -X main.version=$version" -o "$root/shopkeeper-$name" "$package")
  mkdir -p "$root/etc/ssl/certs"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  echo 'shopkeeper:x:65532:65532::/:/sbin/nologin' >"$root/etc/passwd"
  mkimage -o "$tar.new" -t "$PRODUCT-$name:$version" -user 65532:65532 -entrypoint "/shopkeeper-$name" "$root:/"
  rm -rf "$root"
  # The same content keeps the old file, and so is not loaded a second time.
  if cmp -s "$tar.new" "$tar"; then rm "$tar.new"; else mv "$tar.new" "$tar"; fi
}
