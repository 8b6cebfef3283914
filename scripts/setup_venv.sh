#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A virtual environment with the pinned packages, ROS 2 and this package, linked into it. Usage: setup_venv.sh DIR
set -eu
venv=$1
python=${PYTHON:-python3}

fail() {
  printf 'set-up stopped: %s\n' "$1" >&2
  exit 1
}

command -v "$python" >/dev/null 2>&1 || fail "no $python found. Install Python 3.11 to 3.13, or name one: make PYTHON=/path/to/python3.12"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
  fail "$("$python" --version) is outside the pinned packages' range, 3.11 to 3.13. Name another: make PYTHON=python3.12"

# One that was interrupted may have a Python, and no pip yet.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv" ||
  fail "the venv module is missing. On Debian or Ubuntu: apt-get install python3-venv"

echo "set-up: installing the pinned packages into $venv (once; a few minutes)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.lock ||
  fail "the packages of requirements.lock could not be installed; see above"
"$venv/bin/python" -m vla_infoentropy_ros.ros_setup || exit 1
