#!/usr/bin/env bash
# Stop the group in drain order (order entry first, the exchange last). Nothing running is fine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if [ $# -gt 0 ]; then
  echo "usage: scripts/stop_all.sh" >&2
  exit 2
fi
if [ ! -x .venv/bin/python ]; then
  echo "nothing is running (not installed yet: scripts/start_all.sh)"
  exit 0
fi
unset PYTHONHOME PYTHONPATH
umask 077
exec .venv/bin/python -m scripts.launch stop
