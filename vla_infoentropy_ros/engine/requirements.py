# SPDX-License-Identifier: Apache-2.0
"""Which releases of transformers the package runs with; asked before anything of it is imported.

Other releases lack names that are imported here at the top of modules, so that only a check that
imports neither transformers nor torch can say so in words.
"""

from __future__ import annotations

import warnings
from importlib import metadata

TRANSFORMERS_FROM = (5, 10)  # in 5.5 its Siglip tower is another module
TRANSFORMERS_TESTED = (5, 24)
TRANSFORMERS_BELOW = (6, 0)


class RequirementError(ImportError):
    """A library is missing, or of a release that cannot be used; says what to install."""


def check_transformers(version: str = "") -> None:
    """Raise RequirementError for a release whose Llama has other interfaces.

    version: "" takes the installed one.
    """
    remedy = f'install a supported one: pip install "transformers{_specifier()}"'
    try:
        version = version or metadata.version("transformers")
    except metadata.PackageNotFoundError as error:
        raise RequirementError(f"transformers is not installed; {remedy}") from error
    try:
        supported = TRANSFORMERS_FROM <= _release(version) < TRANSFORMERS_BELOW
    except ValueError as error:
        raise RequirementError(
            f"transformers {version!r} is installed, which is no release; {remedy}"
        ) from error
    if not supported:
        raise RequirementError(
            f"transformers {version} is installed, but {_specifier()} is needed "
            f"({_dotted(TRANSFORMERS_FROM)} up to {_dotted(TRANSFORMERS_TESTED)} are tested); "
            f"{remedy}"
        )


def warn_if_untested(version: str = "") -> None:
    """Warn of a supported release that is newer than the newest one tested."""
    version = version or metadata.version("transformers")
    if _release(version) > TRANSFORMERS_TESTED:
        warnings.warn(
            f"transformers {version} is untested here; {_dotted(TRANSFORMERS_FROM)} up to "
            f"{_dotted(TRANSFORMERS_TESTED)} are tested",
            stacklevel=3,
        )


def _release(version: str) -> tuple[int, int]:
    major, minor = (int(part) for part in version.split(".")[:2])
    return major, minor


def _specifier() -> str:
    """As setup.py has it."""
    return f">={_dotted(TRANSFORMERS_FROM)},<{TRANSFORMERS_BELOW[0]}"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
