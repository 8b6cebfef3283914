# SPDX-License-Identifier: Apache-2.0
"""What is wrong with code of others is one sentence, and names what it is about."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vla_infoentropy_ros.driving.live_settings import LiveSettings
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.loading import load_policy
from vla_infoentropy_ros.plugins import PluginError
from vla_infoentropy_ros.selection import (
    SELECTORS,
    build_selector,
    load_plugins,
    plugins,
    selector_names,
)
from vla_infoentropy_ros.selftest import run_selftest
from vla_infoentropy_ros.variants import Variant

GOOD = """
import pathlib
pathlib.Path(__file__).with_suffix(".imported").touch()
from vla_infoentropy_ros.selection.controls import Random

def make(settings, schedule):
    return Random(settings)
"""
WRONG = [
    ("import nowhere_to_be_found\n", "cannot be imported: ModuleNotFoundError: No module named "
     "'nowhere_to_be_found' .*py, line 1.*install it"),
    ("def make(:\n", "cannot be imported: SyntaxError"),
    ("1 / 0\n", r"cannot be imported: ZeroDivisionError: division by zero \(\w+.py, line 1\)"),
    ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
    ("def makes(one, two): ...\n", "has no 'make'; did you mean makes"),
    ("x = 1\n", "has no 'make'; write it as module:function"),
    ("make = 7\n", "is a int; name a function"),
    ("def make(): ...\n", r"must take \(\w+, \w+\) and takes \(\): too many positional"),
    ("def make(a, b, c): ...\n", r"and takes \(a, b, c\): missing a required argument: 'c'"),
    ("def make(a, b):\n    a.b.c\n", r"it raised AttributeError: .*\(\w+.py, line 2\)"),
    ("def make(a, b):\n    return 7\n", "it gave a int without name, "),
]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a package with a selector under a name into this interpreter."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[str] = []

    def add(package: str, name: str, code: str) -> None:
        module = f"code_of_{package}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {module}:make\n")
        plugins.forget()

    yield add
    plugins.forget()
    for module in modules:
        sys.modules.pop(module, None)


@pytest.mark.parametrize(("code", "told"), WRONG)
def test_a_selector_that_cannot_be_used(install: Callable[..., None], code: str, told: str) -> None:
    install("theirs", "chess", code)
    with pytest.raises(SettingError, match=f"selector='chess', a plug-in of theirs .*{told}"):
        build_selector("chess")
    assert build_selector("dense").name == "dense", "the others are there all the same"


@pytest.mark.parametrize(("code", "told"), WRONG)
def test_a_model_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_model.py").write_text(code)
    try:
        with pytest.raises(SettingError, match=f"model='their_model:make'.*{told}"):
            load_policy("their_model:make")
    finally:
        sys.modules.pop("their_model", None)


def test_what_a_model_says_itself_is_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "telling_model.py").write_text(
        "from vla_infoentropy_ros.models.adapter import PolicyError\n\n"
        "def make(text, options):\n    raise PolicyError('no weights: fetch them first')\n"
    )
    with pytest.raises(PolicyError, match=r"^no weights: fetch them first$"):
        load_policy("telling_model:make")


RAISING = """
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.models.adapter import PolicyError

class Theirs(TinyPolicy):
    def tokenize(self, instruction):
        if instruction == "say no":
            raise PolicyError("instruction='say no' is not among mine")
        return {"pick": 1, "up": [2, 3]}[instruction]

    def decode_action(self, decided):
        raise SystemExit(3)

def make(text, options):
    return Theirs()
"""


def test_what_a_model_raises_or_gives_while_it_runs_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "raising_model.py").write_text(RAISING)
    policy = load_policy("raising_model:make")
    told = r"^model='raising_model:make': "
    keyed = told + r"tokenize raised KeyError: 'go' \(raising_model.py, line 9\)$"
    with pytest.raises(PluginError, match=keyed):
        policy.tokenize("go")
    with pytest.raises(PluginError, match=told + "tokenize gave a list, must be a PromptTokens$"):
        policy.tokenize("up")
    with pytest.raises(PluginError, match=told + r"decode_action raised SystemExit: 3"):
        policy.decode_action([1])
    with pytest.raises(PolicyError, match=r"^instruction='say no' is not among mine$"):
        policy.tokenize("say no")
    assert policy.grid == (4, 4) and policy.name == "tiny", "everything else is the policy's"
    assert not run_selftest(policy).passed


def test_what_a_selector_raises_while_it_runs_is_one_sentence(
    install: Callable[..., None]
) -> None:
    install("theirs", "chess", GOOD + """
class make(Random):
    def needs(self, depth):
        return depth / 0

    def __init__(self, settings, schedule):
        super().__init__(settings)
""")
    with pytest.raises(PluginError, match=r"'chess', a plug-in of theirs .*: needs raised ZeroDiv"):
        build_selector("chess").needs(4)


def test_a_name_of_ours_is_taken(install: Callable[..., None]) -> None:
    install("theirs", "dense", GOOD)
    assert selector_names() == SELECTORS
    with pytest.raises(SettingError, match="'dense' is one of this package's own, and a plug-in"):
        build_selector("dense")
    assert build_selector("stale").name == "stale"


def test_a_name_of_others_is_taken(install: Callable[..., None]) -> None:
    install("theirs", "chess", GOOD)
    install("others", "chess", GOOD)
    with pytest.raises(SettingError, match=r"is the name of 2 plug-ins, of (theirs|others) and of"):
        build_selector("chess")


def test_nothing_is_imported_before_it_is_named(
    install: Callable[..., None], tmp_path: Path
) -> None:
    install("theirs", "chess", GOOD)
    mark = tmp_path / "code_of_theirs.imported"
    assert str(Variant.parse("chess+window")) == "chess+window" and not mark.exists()
    assert build_selector("chess").name == "random" and mark.exists()


def test_what_runs_is_decided_at_the_start(install: Callable[..., None], tmp_path: Path) -> None:
    """A node imports all of them then; over the graph one is chosen, and none is imported."""
    install("theirs", "chess", GOOD)
    install("others", "go", "1 / 0\n")
    (problem,) = load_plugins()
    assert "selector='go'" in problem
    mark = tmp_path / "code_of_theirs.imported"
    mark.unlink()
    live = LiveSettings({})
    assert "selector" in live.change({"selector": "chess"}, configured=True)
    assert not mark.exists()
    (tmp_path / "code_of_others.py").write_text(GOOD)  # mended, or exchanged, since
    with pytest.raises(SettingError, match="division by zero"):
        live.change({"selector": "go"}, configured=True)
    assert live.settings.node.selector == "chess"
