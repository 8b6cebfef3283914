# SPDX-License-Identifier: Apache-2.0
"""The layout: data flows one way, ROS is known to nodes/, torch not to nodes/."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "vla_infoentropy_ros"
ROOT = Path(__file__).parents[1] / PACKAGE
FILES = sorted(ROOT.rglob("*.py"))
ROS = re.compile(
    r"(rclpy|rcl_interfaces|builtin_interfaces|\w+_msgs|std_srvs|cv_bridge"
    rf"|{PACKAGE}\.(msg|srv|action))(\.|$)"
)
# Each part may import those before it.
ORDER = (
    "foreign", "knobs", "plugins", "success_rates", "episode_log", "share", "argument_types",
    "ros_setup", "extras", "record", "interrupting",
    "video", "launch_runner", "sim", "libero", "control", "arms", "engine", "selection", "models",
    "session", "variants", "selftest", "cuttest", "report", "driving", "nodes", "start_node",
    "operate", "serve", "replay", "demo", "doctor", "bench", "training",
)  # fmt: skip

SKINS = ("nodes", "serve", "replay")  # over the same core: middleware, network, recordings


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports, within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def part(path: Path) -> str:
    """``nodes`` for nodes/qos.py, ``session`` for session.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def where(paths: list[Path], pattern: re.Pattern[str]) -> list[str]:
    """Imports that match, as a reader would look for them."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in paths
        for line, name in imported(path)
        if pattern.match(name)
    ]


def test_ros_is_imported_by_nodes_only() -> None:
    others = [path for path in FILES if part(path) != "nodes"]
    assert where(others, ROS) == []


def test_what_drives_a_policy_knows_no_middleware_no_file_format_and_no_network() -> None:
    """Driving and all below it is the same for node, replay and server."""
    core = {*ORDER[: ORDER.index("nodes")]} - {"libero"}  # which plays against a server
    foreign = re.compile(r"(rosbags|mcap|apsw|socket|socketserver|http|aiohttp|asyncio|websockets"
                         r"|zmq|rclpy|rcl_interfaces)(\.|$)")
    assert where([path for path in FILES if part(path) in core], foreign) == []


@pytest.mark.parametrize("skin", SKINS)
def test_a_skin_knows_no_other(skin: str) -> None:
    others = "|".join(other for other in SKINS if other != skin)
    files = [path for path in FILES if part(path) == skin]
    assert files and where(files, re.compile(rf"{PACKAGE}\.({others})(\.|$)")) == []


def test_nodes_do_not_import_torch() -> None:
    assert where([path for path in FILES if part(path) == "nodes"], re.compile("torch")) == []


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_one_way(name: str) -> None:
    later = "|".join(ORDER[ORDER.index(name) + 1 :]) or "nothing"
    files = [path for path in FILES if part(path) == name]
    assert files, f"there is no {name}: take it out of ORDER"
    assert where(files, re.compile(rf"{PACKAGE}\.({later})(\.|$)")) == []


def test_every_part_has_its_place() -> None:
    assert {part(path) for path in FILES} - set(ORDER) == {"__init__", "__main__"}
