#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# MuJoCo draws without a screen through EGL or OSMesa, which come from the system, not from pip.
# Says what to install; installs it only where told to, by SYSTEM_PACKAGES=install in the
# environment (make test SYSTEM_PACKAGES=install), as .ci/run does. Usage: check_system.sh PYTHON
set -eu
python=$1
packages="libegl1 libgl1 libosmesa6"

draws() {
  "$python" -c 'from vla_infoentropy_ros.sim.gl import choose_backend; choose_backend()' 2>/dev/null
}

draws && exit 0
if [ "${SYSTEM_PACKAGES:-}" = install ] && command -v apt-get >/dev/null 2>&1; then
  if [ "$(id -u)" -eq 0 ]; then as_root=""; else as_root="sudo -n"; fi
  echo "set-up: installing $packages for drawing without a screen"
  { $as_root apt-get update -q && $as_root apt-get install -y -q $packages; } >/dev/null 2>&1 || true
fi
draws && exit 0
echo "set-up stopped: MuJoCo cannot draw. Install EGL or OSMesa, on Debian or Ubuntu:
  sudo apt-get update && sudo apt-get install $packages
or let make do so, once: make test SYSTEM_PACKAGES=install" >&2
exit 1
