# SPDX-License-Identifier: Apache-2.0
"""Code of others, taken in by name: it is looked at before it is used, and what is wrong with it is
one sentence. No torch in here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vla_infoentropy_ros.foreign.text import UserError, did_you_mean, one_line
from vla_infoentropy_ros.knobs import SettingError


class PluginError(UserError, ValueError):
    """Code of others failed while it ran; the message names it, and the line."""


def imported(path: str, told: str) -> Callable[..., Any]:
    """What ``module:name`` stands for. told: how the setting is written, for the sentence; raises
    SettingError."""
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # importing runs it, and it may do anything
        raise SettingError(
            f"{told}: {module_name} cannot be imported: {seen(error)}; install it, or name its "
            "folder in PYTHONPATH"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        hint = did_you_mean(name, dir(module), most=1) or "write it as module:function"
        raise SettingError(f"{told}: {module_name} has no {name!r}; {hint}")
    if not callable(found):
        raise SettingError(f"{told}: {path} is a {type(found).__name__}; name a function")
    return found


def made(
    make: Callable[..., Any], told: str, form: str, kind: type, gives: Mapping[str, type],
    *arguments: Any,
) -> Any:
    """What ``make`` gives for the arguments, with all that the protocol ``kind`` has, `Contained`.

    form: the names of the arguments, for the sentence. gives: see `Contained`. Raises SettingError
    where it does not take the arguments, gives something else, or raises; a UserError of its own
    is let through.
    """
    try:
        inspect.signature(make).bind(*arguments)
    except TypeError as error:
        raise SettingError(
            f"{told}: it must take ({form}) and takes {inspect.signature(make)}: {error}"
        ) from error
    except ValueError:  # written in C, without a signature
        pass
    try:
        thing = make(*arguments)
        missing = [name for name in _members(kind) if not hasattr(thing, name)]
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingError(f"{told}: it raised {seen(error)}") from error
    if missing:
        raise SettingError(
            f"{told}: it gave a {type(thing).__name__} without {', '.join(missing)}, which a "
            f"{kind.__name__} has"
        )
    return Contained(thing, told, gives)


class Contained:
    """A thing of others. Its attributes, and its methods named in ``gives``, raise nothing but
    `PluginError` and what a UserError of its own says, and the latter give what stands there; for
    what is done with the attributes see `containing`."""

    def __init__(self, thing: Any, told: str, gives: Mapping[str, type]) -> None:
        self._thing, self._told = thing, told
        for name, kind in gives.items():
            setattr(self, name, contained(getattr(thing, name), f"{told}: {name}", kind))

    def __getattr__(self, name: str) -> Any:
        with _telling(f"{self._told}: {name}", AttributeError):
            return getattr(self._thing, name)


@contextmanager
def containing(thing: object, doing: str) -> Iterator[None]:
    """What goes through the parts of ``thing``, like a policy's network and head, raises as its
    methods do where it is `Contained`; where it is this package's own, whatever it raises. doing:
    what is being done, for the sentence."""
    if not isinstance(thing, Contained):
        yield
        return
    with _telling(f"{thing._told}: {doing}"):
        yield


@contextmanager
def _telling(told: str, *let_through: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (UserError, *let_through)):
            raise
        raise PluginError(f"{told} raised {seen(error)}") from error


def contained(call: Callable[..., Any], told: str, kind: type) -> Callable[..., Any]:
    """``call``, which raises `PluginError` for whatever goes wrong in it, and where it gives no
    ``kind``; told: what it is, for the sentence."""

    def safe(*arguments: Any) -> Any:
        with _telling(told):
            given = call(*arguments)
        if not isinstance(given, kind):
            raise PluginError(f"{told} gave a {type(given).__name__}, must be a {kind.__name__}")
        return given

    return safe


def _members(kind: type) -> list[str]:
    """Public names that a protocol declares, by annotation or as a method."""
    declared = (name for each in kind.__mro__[::-1] for name in
                (*inspect.get_annotations(each), *vars(each)))
    return [name for name in dict.fromkeys(declared) if not name.startswith("_")]


def seen(error: BaseException) -> str:
    """Its kind and text, and the line that it comes from."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename).name
        place, trace = f"{file}, line {trace.tb_lineno}", trace.tb_next
    return f"{type(error).__name__}: {one_line(error)} ({place})"
