# shellcheck shell=bash
# find_python COMMAND..., for the script that was called so: sets $python to the one in .venv, else to one that .venv can be
# made with; without one it ends the script with a message.
#   PYTHON   the Python to use (default: the first that fits of python3.11, python3.12, python3.13 and python3)

# Prints what is wrong with a Python; the oldest can run it.
_problem='
import platform, sys, sysconfig
name = platform.python_implementation() + " " + platform.python_version()
if not (3, 11) <= sys.version_info[:2] <= (3, 13) or not name.startswith("CPython"):
    print("is " + name)
elif sysconfig.get_config_var("Py_GIL_DISABLED"):
    print("is " + name + " without the global lock, for which packages have no wheels")
elif sys.argv[1:] == ["new"]:
    try:
        import ensurepip, venv
    except ImportError:
        print("is " + name + " without venv")
'

find_python() {
  local candidates problem found="" version
  if .venv/bin/python -c 'import pip' 2>/dev/null; then # without pip it is what an interrupted attempt leaves
    python=.venv/bin/python
    problem=$("$python" -c "$_problem")
    if [ -z "$problem" ]; then return; fi
    echo "nerserve needs Python 3.11, 3.12 or 3.13; .venv/bin/python $problem. Remove .venv and run this again." >&2
    exit 1
  fi
  candidates=(python3.11 python3.12 python3.13 python3)
  if [ -n "${PYTHON-}" ]; then candidates=("$PYTHON"); fi
  for python in "${candidates[@]}"; do
    if command -v "$python" >/dev/null; then
      problem=$("$python" -c "$_problem" new 2>/dev/null) || problem="does not run"
      if [ -z "$problem" ]; then return; fi
      found+="${found:+; }$python $problem"
    fi
  done
  echo "nerserve needs Python 3.11, 3.12 or 3.13, CPython with venv; found: ${found:-no ${candidates[*]}}." >&2
  echo "Get one:" >&2
  for version in 3.11 3.12 3.13; do
    if apt-cache show "python$version-venv" >/dev/null 2>&1; then
      echo "  sudo apt-get install python$version-venv" >&2
      break
    fi
  done
  echo "  uv python install 3.12 && PYTHON=\$(uv python find 3.12) $*    # uv itself: pipx install uv" >&2
  exit 1
}
