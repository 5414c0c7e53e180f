# shellcheck shell=sh
# Ends the servers of a test process once that has ended, however it did, and removes their folders.
# $1 is the scratch folder; each server has left its process id in $1/*/pid. Standard input is a pipe
# whose other end the test process holds.
cat >/dev/null
for file in "$1"/*/pid; do
  read -r server <"$file" || continue
  # A paused server could not take the signal that ends it.
  # shellcheck disable=SC2046 # a list of numbers, to be split
  kill -CONT "$server" $(cat "/proc/$server/task/$server/children")
  kill -INT "$server"
  for _ in $(seq 100); do
    [ -e "/proc/$server/exe" ] || break # which a process that only waits to be reaped has not
    sleep 0.05
  done
  kill -KILL "$server"
done 2>/dev/null
rm -rf "$1"
