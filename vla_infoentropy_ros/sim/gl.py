# SPDX-License-Identifier: Apache-2.0
"""Choice of MuJoCo's off-screen OpenGL backend.

MuJoCo reads ``MUJOCO_GL`` when it is imported, so the choice has to be made before the first
``import mujoco``; every module of this package therefore imports MuJoCo through
:func:`load_mujoco`.
"""

from __future__ import annotations

import ctypes.util
import os
import sys
from types import ModuleType

from vla_infoentropy_ros.extras import missing
from vla_infoentropy_ros.foreign.text import UserError, shown

_BACKENDS = ("egl", "osmesa", "glfw", "glx")
_REMEDY = (
    "Install one of the software renderers (Debian/Ubuntu: 'apt install libegl1 libgl1-mesa-dri' "
    "for MUJOCO_GL=egl, or 'apt install libosmesa6' for MUJOCO_GL=osmesa)"
)


class RenderBackendError(UserError, RuntimeError):
    """No off-screen OpenGL backend could be used."""


def choose_backend() -> str:
    """Return the backend name for ``MUJOCO_GL``: what is set already, else egl, else osmesa."""
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if chosen in _BACKENDS:
        return chosen
    if chosen:
        raise RenderBackendError(f"MUJOCO_GL={shown(chosen)} is not among {', '.join(_BACKENDS)}; "
                                 "unset it to have one chosen")
    if ctypes.util.find_library("EGL"):
        return "egl"
    if ctypes.util.find_library("OSMesa"):
        return "osmesa"
    raise RenderBackendError(f"MUJOCO_GL is unset and neither libEGL nor libOSMesa was found. "
                             f"{_REMEDY}.")


def load_mujoco() -> ModuleType:
    """Import MuJoCo with a working off-screen backend selected."""
    if "mujoco" not in sys.modules:
        backend = choose_backend()
        os.environ["MUJOCO_GL"] = backend
        if backend in ("egl", "osmesa"):
            os.environ.setdefault("PYOPENGL_PLATFORM", backend)
        # Mesa's software renderer splits every small frame among threads; on the few cores of a
        # robot they only get in the way of inference.
        os.environ.setdefault("LP_NUM_THREADS", "1")
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise RenderBackendError(missing(error)) from error
    except Exception as error:  # PyOpenGL raises assorted types when a library is missing
        raise RenderBackendError(
            f"MuJoCo could not start with MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}: {error}. "
            f"{_REMEDY}."
        ) from error
    return mujoco


def renderer(model: object, size: int) -> object:
    """Return a ``mujoco.Renderer`` of ``size`` x ``size`` pixels, or raise with the remedy."""
    mujoco = load_mujoco()
    try:
        return mujoco.Renderer(model, size, size)
    except Exception as error:  # GL errors have no common base class
        raise RenderBackendError(
            f"no off-screen OpenGL context with MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}: "
            f"{error}. {_REMEDY}."
        ) from error
