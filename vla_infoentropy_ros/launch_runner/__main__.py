# SPDX-License-Identifier: Apache-2.0
"""Command line of the launch runner."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vla_infoentropy_ros.share import share_directory

from .description import Description
from .runner import Runner
from .xml_tree import LaunchError


def main(argv: list[str] | None = None) -> int:
    """Run a launch file; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros.launch_runner",
        description="Run an XML launch file without ROS 2.",
    )
    parser.add_argument("file", help="a path, or the name of a file in the launch/ folder")
    parser.add_argument("arguments", nargs="*", metavar="name:=value", help="launch arguments")
    parser.add_argument(
        "-s", "--show-args", action="store_true", help="show the arguments of the file and exit"
    )
    options = parser.parse_args(argv)
    try:
        path = _find(options.file)
        given = dict(_split(text) for text in options.arguments)
        description = Description(path, given, only_arguments=options.show_args)
        if options.show_args:
            print(_shown(description))
            return 0
        return Runner(description).run()
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _find(text: str) -> Path:
    path = Path(text)
    if path.exists() or path.parent != Path("."):
        return path
    folder = share_directory() / "launch"
    if (folder / text).exists():
        return folder / text
    known = ", ".join(sorted(item.name for item in folder.glob("*.launch.xml")))
    raise LaunchError(f"Launch file {text!r} does not exist here or in {folder}. There: {known}")


def _split(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":=")
    if not separator or not name or not value:  # as `ros2 launch`: nothing can be set to ""
        raise LaunchError(f"Argument {text!r} is not of the form name:=value.")
    return name, value


def _shown(description: Description) -> str:
    lines = ["Arguments (pass arguments as '<name>:=<value>'):"]
    for argument in description.arguments.values():
        lines += [
            "",
            f"    '{argument.name}':",
            f"        {argument.description or 'no description'}",
        ]
        if argument.choices:
            lines.append(f"        one of: {argument.allowed}")
        default = argument.default
        lines.append("        (required)" if default is None else f"        (default: {default!r})")
    if not description.arguments:
        lines.append("    none")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
