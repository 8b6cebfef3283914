# SPDX-License-Identifier: Apache-2.0
"""One table of load options: checked, and the same for Python, commands and node."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.driving.runner import load
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import LoadOptions, add_load_arguments

NAMES = [entry.name for entry in fields(LoadOptions)]
TUNED: dict[str, Any] = {
    "device": "cpu", "dtype": "bfloat16", "unnorm_key": "my_robot", "revision": "0" * 64,
    "gripper": "one_is_closed", "rotation": "axis_angle", "trained_rotation": "axis_angle",
    "action_units": "osc_pose", "crop": "centre_0.9_area", "image_rotation": "half_turn",
    "control_period_s": 0.1,
}
OF_LEROBOT = {"trained_gripper": "minus_one_is_open", "cameras": "image"}


@pytest.mark.parametrize(("name", "value", "remedy"), [
    ("dtype", "float8", "bfloat16"), ("dtype", "", "bfloat16"),
    ("dtype", "torch.float32", "'float32'"), ("gripper", "open", "'one_is_open'"),
    ("rotation", "quaternion", "'axis_angle'"), ("trained_rotation", "euler", "'axis_angle'"),
    ("action_units", "inch", "'osc_pose'"), ("crop", "half", "'centre_0.9_area'"),
    ("image_rotation", "180", "'half_turn'"), ("control_period_s", -1.0, "[0.0, 10.0]"),
    ("control_period_s", 200.0, "[0.0, 10.0]"), ("control_period_s", 0.0002, "at least 0.005 s"),
    ("control_period_s", float("nan"), "finite"),
])
def test_a_wrong_value_is_named_with_what_is_right(name: str, value: Any, remedy: str) -> None:
    with pytest.raises(SettingError) as caught:
        LoadOptions(**{name: value})
    assert str(caught.value).startswith(f"{name}={value!r}")
    assert remedy in str(caught.value)


def _parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_load_arguments(parser)
    return parser.parse_args(words)


def test_every_option_is_a_flag() -> None:
    assert LoadOptions.from_arguments(_parsed()) == LoadOptions()
    tuned = TUNED | OF_LEROBOT
    assert set(tuned) == set(NAMES)
    words = [word for name, value in tuned.items()
             for word in (f"--{name.replace('_', '-')}", str(value))]
    assert LoadOptions.from_arguments(_parsed(*words)) == LoadOptions(**tuned)


def test_help_shows_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parsed("--help")
    told = " ".join(capsys.readouterr().out.split())
    assert "robot's speed" in told and "(none, centre_0.9_area)" in told


def test_every_option_reaches_the_policy_from_the_node(tmp_path: Path) -> None:
    folder = write_tiny_openvla(tmp_path, image_size=56, dataset_statistics=True)
    plain = PolicyNodeSettings.from_values({"model": str(folder)})
    with pytest.raises(PolicyError, match="other files than those that were pinned"):
        load(PolicyNodeSettings.from_values({"model": str(folder), **TUNED}))
    pin = {"revision": load(plain).revision}
    policy = load(PolicyNodeSettings.from_values({"model": str(folder), **TUNED, **pin}))
    assert str(policy.dtype) == "torch.bfloat16" and str(policy.device) == "cpu"
    assert policy.norm_key == "my_robot" and policy.revision.startswith("sha256-")
    assert (policy.convention.gripper, policy.convention.rotation) == (
        "one_is_closed", "axis_angle")
    assert policy.convention.control_period_s == 0.1
    assert (policy.trained.units, policy.trained.rotation) == ("osc_pose", "axis_angle")
    assert policy.preprocessing.crop == "centre_0.9_area"
    assert policy.preprocessing.rotation == "half_turn"


def test_documentation_has_every_option_and_an_example_that_works() -> None:
    page = (Path(__file__).parents[2] / "docs" / "openvla.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"| `{name}` |" in page, name
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    settings = PolicyNodeSettings.from_values(yaml.safe_load(example)["/**"]["ros__parameters"])
    assert settings.load == LoadOptions(
        control_period_s=0.1, crop="centre_0.9_area", image_rotation="half_turn"
    )
