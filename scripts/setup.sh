#!/usr/bin/env bash
# Installs what building (demo) or checking (check) needs and is not there yet.
# Does nothing, quickly, when everything is there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mode=${1:-demo}
case $mode in demo | check) ;; *) die "usage: scripts/setup.sh [demo|check]" ;; esac

missing=() # Debian package names

have() { command -v "$1" >/dev/null; }

check_rust() {
  local version
  { have cargo && have rustc; } || die "Rust is not installed (cargo and rustc $NEEDED_RUST or newer are needed)" \
    "install it from https://rustup.rs, open a new shell, and run this again"
  version=$(rustc --version | cut -d' ' -f2)
  if [ "$(printf '%s\n%s\n' "$NEEDED_RUST" "$version" | sort -V | head -n1)" != "$NEEDED_RUST" ]; then
    die "Rust $NEEDED_RUST or newer is needed, this is $version" "run: rustup update stable"
  fi
}

# libclang is found by bindgen at build time, in one of these places.
have_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return 0
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib*/libclang.so*' >/dev/null
}

# The major that apt offers: 15 on Debian 12, 16 on Ubuntu 24.04, 17 on Debian 13.
offered_major() {
  local major
  for major in $SUPPORTED_MAJORS; do
    if [[ $(LC_ALL=C apt-cache policy "postgresql-server-dev-$major" 2>/dev/null) == *"Candidate: "[0-9]* ]]; then
      printf '%s\n' "$major"
      return
    fi
  done
}

need_postgres() {
  local found major
  found=$(find_pg_config)
  if [ -n "$found" ] && is_complete "$found"; then
    return
  fi
  if [ -n "${PG_CONFIG:-}" ]; then
    major=$(sed -nE 's#^/usr/lib/postgresql/([0-9]+)/bin/pg_config$#\1#p' <<<"$PG_CONFIG")
    is_supported "$major" || die "PG_CONFIG=$PG_CONFIG is not a pg_config with server headers and initdb beside it"
  else
    major=any
  fi
  missing+=("postgresql:$major" "postgresql-server-dev:$major")
}

find_missing() {
  have cc || missing+=(build-essential)
  have clang || missing+=(clang)
  have_libclang || missing+=(libclang-dev)
  have pkg-config || missing+=(pkg-config)
  need_postgres
  if [ "$mode" = check ]; then
    have shellcheck || missing+=(shellcheck)
    have openssl || missing+=(openssl)
    have pgrep || missing+=(procps)
    have curl || missing+=(curl)
    for program in ceph-mon ceph-osd ceph radosgw radosgw-admin; do
      have "$program" || { missing+=(ceph-mon ceph-osd ceph-common radosgw) && break; }
    done
    have pgbouncer || [ -x /usr/sbin/pgbouncer ] || missing+=(pgbouncer)
    have go || missing+=(golang-go)
    [ -d /usr/share/gocode/src/golang.org/x/mod/sumdb/tlog ] || missing+=(golang-golang-x-mod-dev)
    { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; } || missing+=(python3-venv)
  fi
}

resolve_majors() {
  local major package resolved=()
  major=$(offered_major)
  for package in "${missing[@]}"; do
    case $package in
      *:any)
        [ -n "$major" ] || die "this release offers no PostgreSQL ${SUPPORTED_MAJORS// /, } with headers" \
          "add the PostgreSQL project's repository (https://wiki.postgresql.org/wiki/Apt) and run this again"
        resolved+=("${package%:any}-$major") ;;
      *:*) resolved+=("${package%%:*}-${package#*:}") ;;
      *) resolved+=("$package") ;;
    esac
  done
  missing=("${resolved[@]}")
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y "$@" </dev/null
}

# Some packages start something the first time they are installed, and nobody asked
# for it: postgresql makes a cluster "main" on port 5432, pgbouncer a pooler on
# 6432, and Ceph brings half a dozen services of other packages along. They are told
# not to, each by the switch that concerns nothing else, and only for the length of
# this install: a later `apt-get install` by the owner of the machine behaves as
# always. What is there already is left alone.
CLUSTER_SWITCH=/etc/postgresql-common/createcluster.d/identity_pgx.conf
SERVICE_SWITCH=/usr/sbin/policy-rc.d

hold_back_services() {
  if [ ! -d /etc/postgresql ]; then
    as_root sh -c "mkdir -p ${CLUSTER_SWITCH%/*} && printf 'create_main_cluster = false\n' > $CLUSTER_SWITCH"
    switches+=("$CLUSTER_SWITCH")
  fi
  if [[ " ${missing[*]} " == *" "@(pgbouncer|ceph-mon)" "* && ! -e $SERVICE_SWITCH ]]; then
    local held=pgbouncer
    if [[ " ${missing[*]} " == *" ceph-mon "* ]]; then held='*'; fi
    as_root tee "$SERVICE_SWITCH" >/dev/null <<POLICY
#!/bin/sh
case " \$* " in *" "$held" "*) exit 101 ;; esac
exit 0
POLICY
    as_root chmod 755 "$SERVICE_SWITCH"
    switches+=("$SERVICE_SWITCH")
  fi
}

# What starts with the machine.
enabled() { find /etc/systemd/system -type l 2>/dev/null | sort; }

# Ceph and what it brings along do not start at the next boot either.
disable_new() { # disable_new LINKS-BEFORE
  local link
  while read -r link; do
    case $link in '' | *postgresql*) ;; *) as_root rm -f "$link" ;; esac
  done < <(comm -13 <(printf '%s\n' "$1") <(enabled))
}

release_services() {
  if [ ${#switches[@]} -gt 0 ]; then as_root rm -f "${switches[@]}"; fi
}

install_packages() {
  local before
  switches=()
  log=$(mktemp)
  apt_get update >"$log" 2>&1 || apt_failed
  resolve_majors
  say "  ${missing[*]}"
  trap release_services EXIT
  hold_back_services
  before=$(enabled)
  apt_get install --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    "${missing[@]}" >>"$log" 2>&1 || apt_failed
  if [[ " ${missing[*]} " == *" pgbouncer "* ]]; then
    as_root update-rc.d pgbouncer disable >>"$log" 2>&1 || true # nor at the next boot
  fi
  if [[ " ${missing[*]} " == *" ceph-mon "* ]]; then disable_new "$before"; fi
  release_services
  trap - EXIT
  rm -f "$log"
}

apt_failed() {
  tail -n 30 "$log" >&2
  die "apt-get could not install what is missing; its last lines are above, all of them in $log"
}

explain_and_stop() {
  local reason=$1
  local names
  names=$(printf '%s ' "${missing[@]}" | sed 's/:any/-15/g; s/:/-/g')
  die "$reason" "needed, by their Debian names: $names" \
    "also supported: PostgreSQL ${SUPPORTED_MAJORS// /, }; name yours with PG_CONFIG=/path/to/pg_config"
}

install_missing() {
  if ! have apt-get; then
    explain_and_stop "this is not Debian or Ubuntu, so nothing can be installed for you"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    have sudo || explain_and_stop "packages are missing, and you are neither root nor is there a sudo"
    as_root true 2>/dev/null || explain_and_stop "packages are missing, and sudo refuses or wants a password; run 'sudo -v' first, or install them yourself"
  fi
  say "installing what is missing:"
  install_packages
}

# The tests' own Python packages, pinned, beside the build output.
make_venv() {
  local venv=$TARGET/venv wanted log
  wanted=$(cksum <"$ROOT/scripts/requirements.txt")
  if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/installed" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  say "preparing the tests' Python packages in ${venv#"$ROOT"/}"
  log=$(mktemp)
  mkdir -p "$TARGET"
  if ! { rm -rf "$venv" && python3 -m venv "$venv" &&
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input --require-hashes -r "$ROOT/scripts/requirements.txt"; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    die "could not install the tests' Python packages; the log is $log"
  fi
  rm -f "$log"
  printf '%s\n' "$wanted" >"$venv/installed"
}

# The list of packages may be missing, or old.
download() { apt-get -q download "$1" || { apt_get update && apt-get -q download "$1"; }; }

# Prometheus and its promtool, which the tests ask whether what we tell is what they understand. Only unpacked: an installed package would start and listen.
unpack_prometheus() {
  local tools=$TARGET/tools log work
  if [ -x "$tools/prometheus/usr/bin/promtool" ]; then return; fi
  have apt-get || die "this is not Debian or Ubuntu, so Prometheus cannot be had" "put prometheus and promtool into $tools/prometheus/usr/bin yourself"
  say "unpacking Prometheus in ${tools#"$ROOT"/}"
  log=$(mktemp) work=$(mktemp -d)
  mkdir -p "$tools"
  if ! (cd "$work" && download prometheus && dpkg -x ./prometheus_*.deb unpacked) >"$log" 2>&1; then
    tail -n 10 "$log" >&2
    die "could not download Prometheus; the log is $log"
  fi
  rm -rf "$tools/prometheus"
  mv "$work/unpacked" "$tools/prometheus"
  rm -rf "$work" "$log"
}

[ "$(uname -s)" = Linux ] || die "this runs on Linux only (tried on Debian 12); this is $(uname -s)" \
  "needed: Rust $NEEDED_RUST, PostgreSQL ${SUPPORTED_MAJORS// /, } with headers, clang and libclang, a C compiler"
check_rust
find_missing
[ ${#missing[@]} -eq 0 ] || install_missing
if [ "$mode" = check ]; then
  make_venv
  unpack_prometheus
fi
