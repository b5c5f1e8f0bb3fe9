#!/usr/bin/env bash
# Copies what build.sh made into the PostgreSQL that PG_CONFIG names; only files
# that differ, and through sudo only when the directories are not ours to write.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
require_postgres

from=$TARGET/extension
version=$(extension_version)
library=$PG_LIB/$EXTENSION.so
control=$PG_SHARE/extension/$EXTENSION.control
script=$PG_SHARE/extension/$EXTENSION--$version.sql

copy() {
  local mode=$1 source=$2 destination=$3
  if cmp -s "$source" "$destination"; then return; fi
  # A new file moved over the old one: a running server keeps the file it mapped.
  if [ -w "${destination%/*}" ]; then
    install -m "$mode" "$source" "$destination.new"
    mv -f "$destination.new" "$destination"
  else
    # shellcheck disable=SC2016 # the inner shell expands them
    as_root sh -c 'install -m "$1" "$2" "$3.new" && mv -f "$3.new" "$3"' sh "$mode" "$source" "$destination" ||
      die "cannot write ${destination%/*}" "run 'make install' as root or with sudo rights"
  fi
  say "installed $destination"
}

[ -f "$from/$EXTENSION.so" ] || die "nothing is built yet; run 'make build'"
copy 755 "$from/$EXTENSION.so" "$library"
for program in identityctl anchor-worker; do copy 755 "$from/$program" "$PG_BIN/$program"; done
copy 644 "$from/$EXTENSION.control" "$control"
copy 644 "$from/$EXTENSION--$version.sql" "$script"
