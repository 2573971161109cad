#!/usr/bin/env bash
# Restart one process and wait until it is ready again; the others go on.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if [ ! -x .venv/bin/python ]; then
  echo "error: nothing is running: start it with scripts/start_all.sh" >&2
  exit 4
fi
unset PYTHONHOME PYTHONPATH
umask 077
exec .venv/bin/python -m scripts.launch restart "$@"
