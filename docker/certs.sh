#!/usr/bin/env bash
# Makes a small but real public key infrastructure for mTLS tests.
#
#   docker/certs.sh DIRECTORY USER...
#
# DIRECTORY/root.crt                 trust anchor: ssl_ca_file and sslrootcert
# DIRECTORY/offline/root.key         its key; nothing below needs it any more: take it away
# DIRECTORY/issuing.crt issuing.key  signs the leaves, cannot sign another CA
# DIRECTORY/server.crt server.key    for localhost, 127.0.0.1 and ::1
# DIRECTORY/USER.crt USER.key        client certificate, CN = USER
# DIRECTORY/foreign.crt foreign.key  client certificate with the first USER's CN, from a CA that nobody here trusts
#
# Each .crt of a leaf holds the issuing certificate too, so that a peer that
# knows only the root can build the chain. Keys are 0600. PostgreSQL wants
# server.key to belong to the user it runs as: chown it after this.
set -euo pipefail

LEAF_DAYS=7
ISSUING_DAYS=30
ROOT_DAYS=90

die() { printf 'error: %s\n' "$1" >&2; exit 1; }

[ $# -ge 2 ] || die "usage: docker/certs.sh DIRECTORY USER..."
command -v openssl >/dev/null || die "openssl is not installed"
out=$1
shift
users=("$@")
for user in "${users[@]}"; do
  case $user in
    '' | *[!A-Za-z0-9_.-]* | .*) die "a user name here is letters, digits, '_', '.', '-'" ;;
    root | issuing | server | foreign) die "'$user' is the name of a file this script makes" ;;
  esac
done

umask 077
mkdir -p "$out" "$out/offline"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

# make_ca NAME KEY CERTIFICATE: self-signed, may sign one level of CA below it.
make_root() {
  new_key "$2"
  openssl req -x509 -new -key "$2" -out "$3" -days "$ROOT_DAYS" -sha256 -subj "/O=identity_pgx tests/CN=$1" \
    -addext 'basicConstraints=critical,CA:TRUE,pathlen:1' -addext 'keyUsage=critical,keyCertSign,cRLSign'
}

# sign SUBJECT KEY CERTIFICATE DAYS CA_CERTIFICATE CA_KEY EXTENSIONS
sign() {
  local subject=$1 key=$2 certificate=$3 days=$4 ca=$5 ca_key=$6 extensions=$7
  new_key "$key"
  openssl req -new -key "$key" -subj "$subject" -out "$work/request"
  printf '%s\n' "$extensions" subjectKeyIdentifier=hash authorityKeyIdentifier=keyid:always >"$work/extensions"
  openssl x509 -req -in "$work/request" -CA "$ca" -CAkey "$ca_key" -set_serial "0x$(openssl rand -hex 16 | sed 's/^./5/')" \
    -days "$days" -sha256 -extfile "$work/extensions" -out "$certificate" 2>/dev/null
}

make_issuing() {
  sign "/O=identity_pgx tests/CN=$1" "$2" "$3" "$ISSUING_DAYS" "$4" "$5" \
    $'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign'
}

# make_leaf NAME FILE ISSUING_CERTIFICATE ISSUING_KEY EXTENSIONS
make_leaf() {
  sign "/O=identity_pgx tests/CN=$1" "$2.key" "$work/leaf.crt" "$LEAF_DAYS" "$3" "$4" \
    $'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'"$5"
  cat "$work/leaf.crt" "$3" >"$2.crt"
}

make_root 'test root' "$out/offline/root.key" "$out/root.crt"
make_issuing 'test issuing' "$out/issuing.key" "$out/issuing.crt" "$out/root.crt" "$out/offline/root.key"
make_leaf localhost "$out/server" "$out/issuing.crt" "$out/issuing.key" \
  $'extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1'
for user in "${users[@]}"; do
  make_leaf "$user" "$out/$user" "$out/issuing.crt" "$out/issuing.key" 'extendedKeyUsage=clientAuth'
done

# The same names as ours, so that only the signature tells them apart.
make_root 'test root' "$work/foreign-root.key" "$work/foreign-root.crt"
make_issuing 'test issuing' "$work/foreign-issuing.key" "$work/foreign-issuing.crt" "$work/foreign-root.crt" "$work/foreign-root.key"
make_leaf "${users[0]}" "$out/foreign" "$work/foreign-issuing.crt" "$work/foreign-issuing.key" 'extendedKeyUsage=clientAuth'

chmod 644 "$out"/*.crt
chmod 600 "$out"/*.key "$out/offline/root.key"
