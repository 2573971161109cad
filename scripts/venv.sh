# Sourced by the scripts: finds a Python 3.11+, and `ensure_venv LOCK` makes .venv hold what LOCK says.
# Standard error only, so that a script's output stays its own.

unset PYTHONHOME PYTHONPATH

# Print the first interpreter that is new enough and can make a venv; explain and fail otherwise.
find_python() {
  local name found='' old=''
  for name in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3.14 python3; do
    command -v -- "$name" >/dev/null 2>&1 || continue
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      if "$name" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        printf '%s\n' "$name"
        return 0
      fi
      found=$name
    else
      old=$name
    fi
  done
  if [ -n "$found" ]; then
    echo "error: $found has no venv module: install it (on Debian: apt install python3-venv) or name another Python with PYTHON=" >&2
  elif [ -n "$old" ]; then
    echo "error: polyexec needs Python 3.11 or newer, $old is older: install one, or name it with PYTHON=" >&2
  else
    echo "error: polyexec needs Python 3.11 or newer and found none: install it, or name it with PYTHON=" >&2
  fi
  return 78
}

ensure_venv() {
  local python
  python=$(find_python) || return $?
  "$python" scripts/install.py "$1"
}
