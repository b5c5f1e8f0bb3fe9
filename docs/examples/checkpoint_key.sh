#!/usr/bin/env bash
# A checkpoint key in a file, for trying out: whoever can read the file can sign. Needs OpenSSL 3.
#
#   checkpoint_key.sh vkey KEY.pem NAME          the public key, as verifiers take it
#   checkpoint_key.sh sign KEY.pem <body >note   signs the text of a checkpoint, under the name of its log
#
# c2sp.org/signed-note: the key's id is the start of SHA-256(name, newline, 0x01, public key), and a signature line
# holds it before the signature. Make a key with: openssl genpkey -algorithm ed25519 -out KEY.pem
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

usage() { echo "usage: checkpoint_key.sh vkey KEY.pem NAME | sign KEY.pem <body >note" >&2; exit 2; }
public_key() { printf '\001'; tail -c 32 "$work/public"; }
key_id() { { printf '%s\n' "$1"; public_key; } | openssl dgst -sha256 -binary | head -c 4; }

# First, and by itself: what fails inside a substitution fails unnoticed.
read_key() {
  if ! openssl pkey -in "$1" -pubout -outform DER -out "$work/public" 2>/dev/null ||
    [ "$(head -c 12 "$work/public" | od -An -v -tx1 | tr -d ' ')" != 302a300506032b6570032100 ]; then # RFC 8410
    echo "checkpoint_key.sh: $1 is no Ed25519 key in PEM; make one with: openssl genpkey -algorithm ed25519 -out KEY.pem" >&2
    exit 1
  fi
}

case ${1:-} in
  vkey)
    [ $# -eq 3 ] || usage
    read_key "$2"
    printf '%s+%s+%s\n' "$3" "$(key_id "$3" | od -An -v -tx1 | tr -d ' ')" "$(public_key | base64 -w 0)"
    ;;
  sign)
    [ $# -eq 2 ] || usage
    read_key "$2"
    cat >"$work/body"
    name=$(head -n 1 "$work/body")
    openssl pkeyutl -sign -rawin -inkey "$2" -in "$work/body" -out "$work/signature"
    cat "$work/body"
    printf '\n\342\200\224 %s %s\n' "$name" "$({ key_id "$name"; cat "$work/signature"; } | base64 -w 0)"
    ;;
  *) usage ;;
esac
