#!/usr/bin/env bash
# System tests against the extension as it is installed in the PostgreSQL that PG_CONFIG names.
#
#   tests/run.sh check [pytest arguments]   everything that takes minutes
#   tests/run.sh long [pytest arguments]    and what takes longer
#
# Every cluster is a throwaway one under /tmp; no server that runs on this machine is touched.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=${HERE%/tests}
export HERE ROOT
export PYTHONDONTWRITEBYTECODE=1

case ${1:-} in
  check) ;;
  long) export IDENTITY_LONG=1 ;;
  *) echo "usage: tests/run.sh check|long [pytest arguments]" >&2; exit 2 ;;
esac
shift

export PG_CONFIG=${PG_CONFIG:-pg_config}
BINDIR=$("$PG_CONFIG" --bindir) || { echo "error: PG_CONFIG=$PG_CONFIG does not run" >&2; exit 1; }
PKGLIB=$("$PG_CONFIG" --pkglibdir)
export BINDIR PKGLIB
export PATH=$BINDIR:$PATH

version=$(sed -nE "s/^default_version *= *'([^']+)'.*/\1/p" "$ROOT/identity_pgx.control")
install_script=$("$PG_CONFIG" --sharedir)/extension/identity_pgx--$version.sql
if [ ! -f "$install_script" ]; then
  echo "error: identity_pgx $version is not installed there: $install_script is missing; run 'make install'" >&2
  exit 1
fi

target=${CARGO_TARGET_DIR:-$ROOT/target}
venv=${IDENTITY_VENV:-$target/venv}
if [ ! -x "$venv/bin/pytest" ]; then "$ROOT/scripts/setup.sh" check || exit 1; fi
export OUTPUT=$target/system-tests
mkdir -p "$OUTPUT"

failed=()
step() { # step NAME COMMAND...
  local name=$1
  shift
  printf -- '-- %s\n' "$name"
  "$@" || failed+=("$name")
}

# A test without expected output, or the other way round, would pass unseen.
names() { (cd "$1" && printf '%s\n' *) | sed 's/\.[a-z]*$//' | sort; }
complete() {
  diff <(names "$HERE/pg_regress/sql") <(names "$HERE/pg_regress/expected") &&
    diff <(names "$HERE/isolation/specs") <(names "$HERE/isolation/expected")
}

# Runs one of the functions below in a cluster of its own.
in_cluster() { "$venv/bin/python" "$HERE/e2e/cluster.py" run bash -c "$1"; }

same_catalog() {
  diff -u "$ROOT/sql/api.txt" <(psql -X -A -t -c "
    SELECT member FROM pg_depend, pg_describe_object(classid, objid, objsubid) AS member
     WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
       AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'identity_pgx')
     ORDER BY member COLLATE \"C\"")
}

# run_tester PROGRAM INPUT TEST...: pg_regress or its sibling, against the cluster that is there.
run_tester() {
  local program=$PKGLIB/pgxs/src/test/$1 input=$2
  shift 2
  if [ ! -x "$program" ]; then
    echo "error: $program is missing (Debian: postgresql-server-dev-NN)" >&2
    return 1
  fi
  "$program" --use-existing --dbname="$PGDATABASE" --host="$PGHOST" --port="$PGPORT" --user="$PGUSER" --bindir="$BINDIR" \
    --inputdir="$input" --outputdir="$OUTPUT" "$@" || { cat "$OUTPUT/regression.diffs"; return 1; }
}

# The order matters: setup makes what the others use.
regress() { run_tester regress/pg_regress "$HERE/pg_regress" contract setup resolve errors; }

isolation() {
  local specs
  mapfile -t specs < <(names "$HERE/isolation/specs")
  run_tester isolation/pg_isolation_regress "$HERE/isolation" "${specs[@]}"
}

# Most of these tests wait for a server, not for a processor: one more at a time than there are cores, each process with a cluster of its own. What is
# long is so because it loads the server, and goes alone.
JOBS=$(($(nproc) + 1))
if [ -n "${IDENTITY_LONG:-}" ]; then JOBS=0; fi

# These tests wait for a server that shares its machine with others, and a deadline may be missed that is none of ours. So when a few fail, each
# must hold three times in a row, by itself; the first failure stays in the output, and the closing line names it.
end_to_end() {
  local status=0 failures
  pytest --numprocesses "$JOBS" --dist loadfile "$HERE/e2e" "$HERE/faults" "$@" || status=$?
  if [ "$status" -ne 1 ]; then return "$status"; fi
  mapfile -t failures < <("$venv/bin/python" -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1]))))' "$OUTPUT/pytest-cache/v/cache/lastfailed")
  if [ ${#failures[@]} -gt 3 ]; then return 1; fi
  for _ in 1 2 3; do
    (cd "$HERE/e2e" && pytest "${failures[@]}") || return 1
  done
  printf 'UNSTABLE: %s\n' "${failures[@]}"
}
pytest() { "$venv/bin/python" -m pytest -q -o "cache_dir=$OUTPUT/pytest-cache" --rootdir="$HERE/e2e" "$@"; }

export -f names same_catalog run_tester regress isolation

step "each test has its expected output" complete
step "pgspot on the install script" "$venv/bin/pgspot" "$install_script"
step "the catalog is sql/api.txt" in_cluster same_catalog
step "pg_regress" in_cluster regress
step "isolation" in_cluster isolation
step "end to end" end_to_end "$@"

if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
echo "system tests passed"
