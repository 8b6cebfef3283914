# SPDX-License-Identifier: Apache-2.0
"""Import hook: ``from sensor_msgs.msg import Image`` without a ``sensor_msgs`` package.

One finder at the end of ``sys.meta_path`` answers for ``<package>`` and its ``msg``, ``srv``
and ``action`` modules, for every package in the type registry. Modules that exist on disk are found
before it is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .typestore import registry

_MAKERS = ("msg", "srv", "action")


class _InterfaceModule(ModuleType):
    """``<package>.msg`` and the like; classes are built when they are first named."""

    def __getattr__(self, name: str) -> Any:
        package, kind = self.__name__.rsplit(".", 1)
        if name.startswith("__") or name not in registry().names(package, kind):
            raise AttributeError(
                f"module {self.__name__!r} has no type {name!r}. "
                f"Known: {', '.join(registry().names(package, kind))}"
            )
        from .messages import action_class, message_class, service_class

        makers = {"msg": message_class, "srv": service_class, "action": action_class}
        built = makers[kind](f"{package}/{kind}/{name}")
        setattr(self, name, built)
        return built

    def __dir__(self) -> list[str]:
        package, kind = self.__name__.rsplit(".", 1)
        return [*super().__dir__(), *registry().names(package, kind)]


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _InterfaceModule(spec.name) if "." in spec.name else ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if "." in module.__name__:
            package, kind = module.__name__.rsplit(".", 1)
            module.__dict__["__all__"] = registry().names(package, kind)
            module.__doc__ = f"Interfaces of {package}, from the standalone type registry."


class InterfaceFinder(MetaPathFinder):
    """Finder for interface packages that are not installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for packages of the registry and their interface modules."""
        package, _, kind = fullname.partition(".")
        if (kind and kind not in _MAKERS) or package not in registry().packages():
            return None
        if kind and not registry().names(package, kind):
            return None
        return ModuleSpec(fullname, _Loader(), is_package=not kind)


def install() -> None:
    """Put the finder at the end of ``sys.meta_path``, once."""
    if not any(isinstance(finder, InterfaceFinder) for finder in sys.meta_path):
        sys.meta_path.append(InterfaceFinder())
