#!/usr/bin/env bash
# Checkpoints and proofs that the core writes, as Go's own packages and as Python
# read them, for every tree of up to 300 leaves and one of 100,000; README.md says
# which bits are changed, and which with IDENTITY_LONG=1.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
cd "$ROOT"

python=${IDENTITY_VENV:-$TARGET/venv}/bin/python
out=$TARGET/proofs
proofs=$out/proofs.jsonl
mkdir -p "$out"
trap 'rm -f "$proofs"' EXIT # 70 MB; 260 MB if long

cargo run --quiet --locked -p identity_core --example proofs -- ${IDENTITY_LONG:+all} >"$proofs"
# Debian's packages are no modules.
GO111MODULE=off GOFLAGS='' GOPATH=/usr/share/gocode GOCACHE=$out/go-cache go build -o "$out/proofs" tests/independent/proofs.go tests/independent/flips.go

"$out/proofs" "$proofs" &
go=$!
failed=()
PYTHONDONTWRITEBYTECODE=1 "$python" tests/independent/proofs.py "$proofs" || failed+=("Python")
wait "$go" || failed+=("Go")
[ ${#failed[@]} -eq 0 ] || die "not as it should be: ${failed[*]}"
