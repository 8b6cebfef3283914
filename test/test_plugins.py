# SPDX-License-Identifier: Apache-2.0
"""What is wrong with code of others is one sentence, and names what it is about."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.__main__ import main
from vla_infoentropy_ros.bench import steps
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
from vla_infoentropy_ros.session import Session
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
    ("class make:\n    def __init__(self, a, b): ...\n    name = property(lambda self: 1 / 0)\n",
     "it raised ZeroDivisionError"),
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


FAILING = """
from test.tiny_policy import TinyPolicy

class Head:
    def __init__(self, head, part):
        self._head, self._part = head, part

    def __getattr__(self, name):
        if name == self._part:
            raise KeyError(name)
        return getattr(self._head, name)

class Telling(TinyPolicy):
    asked = 0

    @property
    def proprioception(self):
        self.asked += 1
        return {1: None}[self.asked]

class Layer:
    def __call__(self, *_):
        raise ZeroDivisionError("half a network")

def make(text, options):
    policy = Telling() if text == "telling" else TinyPolicy()
    if text == "backbone":
        policy.backbone.layers[2].mlp.forward = Layer()
    else:
        policy.head = Head(policy.head, text)
    return policy
"""
FAILS = [
    ("telling", "proprioception raised KeyError: 2"),
    ("act", r"a step raised KeyError: 'act' \(failing_model.py, line 10\)"),
    ("cost", "a step raised KeyError: 'cost'"),
    ("backbone", "a step raised ZeroDivisionError: half a network"),
    ("layout", "a new instruction raised KeyError: 'layout'"),
    ("reads_output", "its head raised KeyError: 'reads_output'"),
]


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A model of others whose head, but for one part of it, or whose network works."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "failing_model.py").write_text(FAILING)
    yield "failing_model:make:{}".format
    sys.modules.pop("failing_model", None)


@pytest.mark.parametrize(("part", "told"), FAILS)
def test_what_a_models_parts_raise_in_a_session_is_one_sentence(
    failing: Callable[[str], str], part: str, told: str
) -> None:
    with pytest.raises(PluginError, match=f"^model='{failing(part)}': {told}"):
        session = Session(load_policy(failing(part)), build_selector("dense"))
        session.set_instruction("pick up")
        session.step([np.zeros((16, 16, 3), dtype=np.uint8)])


def test_what_this_packages_own_policies_raise_is_a_fault_to_be_seen_whole() -> None:
    policy = TinyPolicy()
    policy.head.act = None
    session = Session(policy, build_selector("dense"))
    session.set_instruction("pick up")
    with pytest.raises(TypeError):
        session.step([np.zeros((16, 16, 3), dtype=np.uint8)])


@pytest.mark.parametrize("command", [["cuttest"], ["bench", "steps", "--episodes", "1"]])
def test_the_commands_say_it_and_end(
    failing: Callable[[str], str], command: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "solved_episode", lambda seed: ("pick up", []))
    assert main([*command, "--model", failing("layout")]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: model='failing_model:make:"), told


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


PLANNING = GOOD + """
import torch
from dataclasses import replace
from vla_infoentropy_ros.engine.plan import Pruning, Stage, TokenPlan
from vla_infoentropy_ros.engine.probe import AttentionNeeds

class make(Random):
    def __init__(self, settings, schedule):
        super().__init__(settings)

    def select(self, given):
        found = super().select(given)
        n = given.embeddings.shape[0]
        some = torch.arange(4)
        return PLANNED
"""
PLANS = [
    ("replace(found, plan=TokenPlan.reuse(found.reasons > 0, n))",
     "layer 0 tokens of shape (16,) and type bool, must be their indices"),
    ("replace(found, plan=TokenPlan.reuse(some.flip(0), n))", "layer 0 tokens that are not sorted"),
    ("replace(found, plan=TokenPlan.reuse(some // 2, n))", "or twice the same"),
    ("replace(found, plan=TokenPlan.reuse(some + 14, n))", "layer 0 the token 16, which is none"),
    ("replace(found, plan=TokenPlan((Stage(0, some), Stage(1, some + 1))))",
     "layer 1 the token 4, which is none or was left out"),
    ("replace(found, plan=TokenPlan.reuse(some, n, 9))", "must be in 0..3"),
    ("replace(found, reasons=found.reasons[:4])", "reasons of shape (4,)"),
    ("replace(found, signals={'drift': found.reasons[:2]})", "the signal drift of shape (2,)"),
    ("replace(found, plan=replace(TokenPlan.dense(n), pruning=Pruning(1, lambda _: 1 / 0)))",
     "choose raised ZeroDivisionError"),
    ("replace(found, plan=replace(TokenPlan.dense(n), pruning=Pruning(1, lambda _: some + 14)))",
     "choose gave the token 16"),
]


def test_a_selector_of_layers_that_are_not_there_is_refused_before_it_runs(
    install: Callable[..., None]
) -> None:
    """None read would be no attention at all, and every token of the same worth."""
    install("theirs", "chess", PLANNING.replace("return PLANNED", "return found") + """
    def needs(self, depth):
        return AttentionNeeds((2, -1))
""")
    session = Session(TinyPolicy(), build_selector("dense"))
    told = r"'random' reads attention of layer -1: must be of 0..3"
    with pytest.raises(SettingError, match=told):
        session.set_selector(build_selector("chess"))
    assert session.selector.name == "dense"


@pytest.mark.parametrize(("planned", "told"), PLANS)
def test_a_selectors_plan_is_looked_at_before_rows_are_taken_by_it(
    install: Callable[..., None], planned: str, told: str
) -> None:
    install("theirs", "chess", PLANNING.replace("PLANNED", planned))
    session = Session(TinyPolicy(), build_selector("chess"))
    session.set_instruction("pick up")
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    session.step([picture])
    with pytest.raises(PluginError, match=f"^selector='chess', a plug-in .*{re.escape(told)}"):
        session.step([picture])


def test_a_selector_that_says_it_reuses_nothing_may_keep_nothing(
    install: Callable[..., None]
) -> None:
    """Its first step would read a cache that nothing was written into."""
    install("theirs", "chess", PLANNING.replace(
        "PLANNED", "replace(found, plan=TokenPlan.reuse(some, n))").replace(
        "class make(Random):", "class make(Random):\n    reuses = False\n", 1))
    session = Session(TinyPolicy(), build_selector("chess"))
    session.set_instruction("pick up")
    with pytest.raises(PluginError, match="keeps 12 tokens of the last step, though it says reuse"):
        session.step([np.zeros((16, 16, 3), dtype=np.uint8)])


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
