# SPDX-License-Identifier: Apache-2.0
"""XML that expands, nests or goes on for ever is refused."""

from __future__ import annotations

import time

import pytest

from test.control.test_kinematics import urdf
from vla_infoentropy_ros.control.kinematics import Chain, KinematicsError
from vla_infoentropy_ros.foreign.markup import parse_xml

LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12)
) + "]><robot>&m;</robot>"


class _Refused(ValueError):
    """The caller's own error."""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LAUGHS, "has a document type of its own"),
        ("<!DOCTYPE robot SYSTEM 'file:///etc/passwd'><robot/>", "document type of its own"),
        ("<robot>" + " " * (9 << 20) + "</robot>", "at most 8,388,608 are taken"),
        ("<robot>", "URDF is no XML: no element found"),
        ("", "is no XML"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    began_s = time.process_time()
    with pytest.raises(_Refused, match=told):
        parse_xml(text, "URDF", "description_characters", _Refused)
    assert time.process_time() - began_s < 1.0


def test_depth_is_no_danger() -> None:
    root = parse_xml("<a>" * 200_000 + "</a>" * 200_000, "URDF", "description_characters")
    assert root.tag == "a" and sum(1 for _ in root.iter()) == 200_000


def test_an_arm_has_an_end() -> None:
    assert Chain.from_urdf(urdf(), "l0", "tool0").names
    links = "".join(
        f'<joint name="j{n}" type="revolute"><parent link="l{n}"/><child link="l{n + 1}"/>'
        '<axis xyz="0 0 1"/><limit lower="-1" upper="1" velocity="1"/></joint>'
        for n in range(1001)
    )
    with pytest.raises(KinematicsError, match="1,001 names, at most 1,000 are taken"):
        Chain.from_urdf(f"<robot>{links}</robot>", "l0", "l1001")
