# SPDX-License-Identifier: Apache-2.0
"""package.xml names whatever of ROS the code and the launch files need."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from test.test_layout import FILES, PACKAGE, imported
from test.trees import SOURCE

ROOT = ElementTree.parse(SOURCE / "package.xml").getroot()
NEEDED = {each.text for each in ROOT if each.tag in ("depend", "exec_depend")}
OF_ROS = re.compile(r"(?!rosbags)(rclpy|ros\w+|\w+_msgs|std_srvs|\w+_interfaces|ament\w+)$")


def test_every_package_that_is_imported() -> None:
    used = {name.partition(".")[0] for path in FILES for _, name in imported(path)}
    used = {name for name in used if OF_ROS.match(name)}
    assert {"rclpy", "std_srvs", "sensor_msgs"} <= used
    assert not used - NEEDED


@pytest.mark.parametrize("program", ["ros2bag", "ros_gz_sim", "ros_gz_bridge"])
def test_every_program_that_a_launch_file_starts(program: str) -> None:
    assert program in NEEDED


def test_packages_of_launched_nodes() -> None:
    files = (SOURCE / "launch").glob("*.xml")
    started = {name for file in files for name in re.findall(r'pkg="(\w+)"', file.read_text())}
    assert not started - NEEDED - {PACKAGE}


def test_an_address_that_is_nobodys_says_so_by_itself() -> None:
    files = [SOURCE / "package.xml", *SOURCE.glob("scripts/*_msgs/package.xml")]
    roots = [ElementTree.parse(file).getroot() for file in files]
    mail = {each.attrib["email"] for root in roots for each in root.iter("maintainer")}
    assert len(roots) == 4 and len(mail) == 1 and mail.pop().endswith(".invalid")
    assert "`.invalid`" in (SOURCE / "QUALITY_DECLARATION.md").read_text(encoding="utf-8")
    assert not [each.text for each in ROOT.iter("url") if "example" in (each.text or "")]
