#!/usr/bin/env bash
# Linters, types, import contracts, then the whole test suite; arguments go to pytest, --soak adds the long proofs.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
marks=(-m "not soak")
args=()
for arg in "$@"; do
  if [ "$arg" = --soak ]; then marks=(); else args+=("$arg"); fi
done
. scripts/venv.sh
ensure_venv requirements-dev.lock

step() {
  echo "== $1"
  shift
  "$@" || { local code=$?; echo "error: $* failed (exit $code)" >&2; exit "$code"; }
}
step "ruff check" .venv/bin/python -m ruff check .
step "ruff format" .venv/bin/python -m ruff format --check .
step "mypy" .venv/bin/python -m mypy
step "import contracts" .venv/bin/python -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'
echo "== pytest"
exec .venv/bin/python -m pytest ${marks[@]+"${marks[@]}"} ${args[@]+"${args[@]}"}
