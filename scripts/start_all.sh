#!/usr/bin/env bash
# Install what is missing, start the group under supervisord, wait until every process is ready. Safe to repeat.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
case ${1-} in
  '' | demo | paper | live) ;;
  -h | --help) echo "usage: scripts/start_all.sh [demo|paper|live]"; exit 0 ;;
  *) echo "error: no mode '$1': demo, paper or live" >&2; exit 2 ;;
esac
if [ $# -gt 1 ]; then
  echo "usage: scripts/start_all.sh [demo|paper|live]" >&2
  exit 2
fi
umask 077
. scripts/venv.sh
ensure_venv requirements.lock
exec .venv/bin/python -m scripts.launch start "$@"
