#!/usr/bin/env bash
# Run one benchmark; its last line is one JSON object.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
names=()
for file in scripts/bench/[a-z]*.py; do
  grep -qs "^if __name__ ==" "$file" || continue  # the others are parts of a benchmark
  file=${file##*/}
  names+=("${file%.py}")
done
for name in ${names[@]+"${names[@]}"}; do
  if [ "$name" = "${1-}" ]; then
    shift
    . scripts/venv.sh
    ensure_venv requirements-dev.lock
    exec .venv/bin/python -m "scripts.bench.$name" "$@"
  fi
done
echo "usage: scripts/bench.sh NAME, where NAME is one of: ${names[*]-}" >&2
exit 2
