#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The LIBERO simulator in an environment of its own, and a short run in it.
# Usage: PACKAGE_PYTHON=... libero.sh PYTHON DIR [MODEL]; PYTHON: 3.10 or 3.11, for the simulator;
# MODEL: a policy, embedded_libero where none is named, or expert: the script that training learns from
set -eu
python=$1
venv=$2
model=${3:-embedded_libero}

fail() {
  printf 'libero stopped: %s\n' "$1" >&2
  exit 1
}

if [ ! -e "$venv/.ready" ] || [ requirements-libero.lock -nt "$venv/.ready" ]; then
  "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' ||
    fail "the simulator (MuJoCo 2.3.7) has wheels for Python 3.10 and 3.11 alone, this is $("$python" --version). Name one: make libero LIBERO_PYTHON=/path/to/python3.11"
  echo "libero: installing the simulator and its assets into $venv (once; 2.3 GB, some minutes)"
  "$python" -m venv "$venv" || fail "no environment could be made in $venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-libero.lock ||
    fail "the packages of requirements-libero.lock could not be installed; see above. They need 2.3 GB on this disk and the package index"
  touch "$venv/.ready"
fi

export MUJOCO_GL="${MUJOCO_GL:-egl}" LP_NUM_THREADS=1 OMP_NUM_THREADS=1 PYTHONPATH=.
"$venv/bin/python" -c 'from libero.libero.envs.env_wrapper import ControlEnv' >/dev/null 2>"$venv/import.log" ||
  fail "the simulator does not start: $(tail -n 1 "$venv/import.log"). It renders through EGL; on Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri"

if [ "$model" = expert ]; then
  exec "$venv/bin/python" -m vla_infoentropy_ros.libero.play out/libero/expert.jsonl \
    --suites libero_object --tasks 1 3 --episodes 3
fi
out=out/libero  # a folder holds the episodes of one policy
[ "$model" = embedded_libero ] || out=$out-$(printf %s "$model" | tr -c 'A-Za-z0-9._-' _)
exec "$PACKAGE_PYTHON" -m vla_infoentropy_ros bench libero --model "$model" \
  --simulator "$venv/bin/python" --out "$out" --rows dense "attention_drift 64 window" \
  "dense, wrong instruction" --suites libero_object --tasks 1 3 --episodes 3
