# SPDX-License-Identifier: Apache-2.0
"""The pages say what the code says, and lead where they point."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from vla_infoentropy_ros.control.faults import FAULT_CODES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "QUALITY_DECLARATION.md",
         *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
_LINK = re.compile(r"(?<!\\)!?\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def prose(page: Path) -> str:
    """Without code blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub and MyST make them."""
    found = set()
    for title in re.findall(r"^#{1,6} (.+)$", prose(page), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def test_generated_text_is_that_of_the_code_and_of_the_results():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "pages", "--check"], text=True,
                          capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page: Path):
    for link in _LINK.finditer(prose(page)):
        target = link["target"]
        if re.match(r"\w+:", target):
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[\w./%~#+-]*)?", target), target
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} points to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} points to {target}"


def test_every_page_can_be_reached_from_the_first():
    listed = {"index", "api/index"}
    for index in (DOCS / "index.md", DOCS / "api" / "index.md"):
        for tree in re.findall(r"```{toctree}(.*?)```", index.read_text(encoding="utf-8"), re.S):
            lines = [line.strip() for line in tree.splitlines()]
            folder = index.parent.relative_to(DOCS)
            listed |= {str(folder / line) for line in lines if line and not line.startswith(":")}
    assert listed == {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES
                      if page.is_relative_to(DOCS)}


def test_the_page_of_commands_has_the_defaults_of_each_command_and_no_raw_text():
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^##+ (.+)\n((?:(?!##).*\n)*)", text, re.M))
    assert "| `--model` | `embedded` |" in sections["How a policy is loaded"]
    assert "| `--model` | `embedded` |" in sections["demo"]
    assert "| `--model` | `random:openvla-7b/16` |" in sections["bench device"]
    assert "--model" not in sections["replay"], "told once, in the first section"
    assert "topic; default: the one called" in sections["replay"] and "%(" not in text


def test_the_page_of_faults_has_exactly_the_codes_that_exist():
    told = re.findall(r"^### `(\w+)`$", (DOCS / "faults.md").read_text(encoding="utf-8"), re.M)
    assert sorted(told) == sorted(FAULT_CODES)


def sentences() -> Iterator[str]:
    """Every string in the code and in the scripts of set-up, what is filled in left out."""
    for path in (ROOT / "vla_infoentropy_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) for part in node.values
                              if isinstance(part, ast.Constant))
    for path in (ROOT / "scripts").glob("*.sh"):
        yield path.read_text(encoding="utf-8")


def test_messages_that_are_explained_are_messages_of_the_code():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    first = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    quoted = [text for cell in first if "(pip's)" not in cell
              for text in re.findall(r"`(.+?)`", cell)]
    assert len(quoted) > 30
    code = "\n".join(sentences())
    assert [text for text in quoted if text not in code] == []


def test_the_site_is_built_by_one_configuration_from_what_the_extra_asks_for():
    builder = list(yaml.safe_load_all((ROOT / "rosdoc2.yaml").read_text()))[1]["builders"][0]
    assert (ROOT / builder["sphinx"]["sphinx_sourcedir"] / "conf.py").is_file()
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    extra = ast.literal_eval(re.search(r'"docs": (\[.+?\])', setup, re.S)[1])
    lock = (ROOT / "requirements-docs.lock").read_text().lower()
    make = (ROOT / "Makefile").read_text()
    for requirement in extra:
        name, least = requirement.split(">=")
        pinned = re.search(rf"^{name}==([\d.]+)", lock, re.M)
        assert pinned and as_numbers(pinned[1]) >= as_numbers(least), requirement
        assert re.search(rf"pip install -q numpy .*\b{name}\b", make)


def as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_the_page_of_installing_names_every_extra():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = re.findall(r'^        "(\w+)": \[', setup, re.M)
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    table = page.partition("## Extras\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.M)) == sorted(extras)


def test_rosdep_is_told_to_leave_out_all_that_it_would_take_from_pip():
    install = (DOCS / "install.md").read_text(encoding="utf-8")
    package = (ROOT / "package.xml").read_text(encoding="utf-8")
    left_out = re.search(r'--skip-keys \\\n +"(.+?)"', install)[1].split()
    assert sorted(left_out) == sorted(re.findall(r">([\w-]+-pip)<", package))


def test_the_container_takes_the_steps_of_the_other_ways():
    """It cannot be built where there is no engine; its commands are those of the tested blocks."""
    file = (DOCS / "Containerfile").read_text(encoding="utf-8")
    install = (DOCS / "install.md").read_text(encoding="utf-8")
    packages = re.search(r"sudo apt-get install (.+)", install)[1]
    assert " ".join(re.search(r"apt-get install -y --no-install-recommends\s+\\\n(.+?)\\\n", file,
                              re.S)[1].split()) == packages
    assert "source /opt/ros/jazzy/setup.bash" in install
    for target in re.findall(r"make ([\w./-]+)(?=$| )", file, re.M):
        subprocess.run(["make", "-n", "-C", ROOT, target], check=True, capture_output=True)
    assert "COPY . ." in file, "what is built is this checkout"
