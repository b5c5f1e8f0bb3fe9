#!/usr/bin/env bash
# Makes the keys of a vault to try out, once: in files, where whoever has the volume has everything. /public holds what the database may know of them.
set -euo pipefail
umask 077

state=/var/lib/anchor-worker
hex() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

for name in signer kek; do
  [ -s "$state/$name.key" ] || { hex >"$state/$name.new" && mv "$state/$name.new" "$state/$name.key"; }
done
# The key of the service s3, which is no secret: it is in docker/s3.sh.
printf worker >"$state/s3.key"

if [ ! -s /public/worker.conf ]; then
  rm -f "$state/unlock.key"
  anchor-worker new-key "$state/unlock.key" >"$state/public"
  install -m 644 "$state/public" /public/worker.conf
fi
