#!/usr/bin/env bash
# Runs every check and ends with "N passed, N failed". Called by make test.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0

step() { # step NAME COMMAND...: one check that passes or fails as a whole
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$out/step" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $name ($((SECONDS - start)) s)"
  else
    failed=$((failed + 1))
    echo "FAIL  $name ($((SECONDS - start)) s)"
    tail -n 200 "$out/step"
  fi
}

tidy() {
  local files
  files=$(gofmt -l $(git ls-files '*.go' 2>/dev/null || find . -name '*.go')) || return 1
  [ -z "$files" ] || { echo "not formatted (run gofmt -w):"; echo "$files"; return 1; }
  go mod verify >/dev/null
}

lint() { # built once into the Go build cache from the pins of deploy/lint
  local tool
  tool="$out/golangci-lint"
  (cd deploy/lint && go build -o "$tool" github.com/golangci/golangci-lint/v2/cmd/golangci-lint) && "$tool" run ./...
}

echo "building; the first run downloads the modules named in go.mod"
step "format and modules" tidy
step "go build" go build ./...
step "go vet" go vet ./...

step "Vault server for the tests (the first run builds it, some minutes)" go run ./keys/vault/vaulttest/withvault

# Every test, one database server for all packages. The JSON stream is counted
# here and failures are printed with their output.
echo "running the tests; the first run installs the npm packages of gateway/terminal/ts (28 MB)"
go run ./tenants/pg/pgtest/withpg -- go test -count=1 -timeout 40m -json ./... >"$out/tests.json" 2>"$out/tests.err"
status=$?
grep -v '^go: downloading' "$out/tests.err" >&2
counts=$(go run ./.ci/count <"$out/tests.json")
count_status=$?
printf '%s\n' "$counts" | sed '$d'
read -r p f <<<"$(printf '%s\n' "$counts" | tail -n 1)"
passed=$((passed + ${p:-0}))
failed=$((failed + ${f:-0}))
if [ "$status" -ne 0 ] || [ "$count_status" -ne 0 ]; then
  [ "${f:-0}" -gt 0 ] || failed=$((failed + 1))
fi

step "payment adapters against libraries of others (the first run installs them)" go test -C adapters/interop -count=1 ./...

step "lint (the first run builds golangci-lint, some minutes)" lint

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
