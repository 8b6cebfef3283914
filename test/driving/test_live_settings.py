# SPDX-License-Identifier: Apache-2.0
"""Parameters change together or not at all, and a selector may say how to decode."""

import pytest
import yaml

from vla_infoentropy_ros.driving.in_force import in_force
from vla_infoentropy_ros.driving.live_settings import LiveSettings
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings, parameter_specs
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.share import share_directory
from vla_infoentropy_ros.variants import RECOMMENDED

BOX = {"command.workspace_low": [2.0, 2.0, 2.0], "command.workspace_high": [3.0, 3.0, 3.0]}


@pytest.fixture
def live():
    return LiveSettings({})


def test_what_is_valid_together_is_taken_together(live):
    assert live.change(BOX, configured=True) == set(BOX)
    assert live.settings.command.workspace_low == (2.0, 2.0, 2.0)
    for name, value in BOX.items():
        alone = LiveSettings(PolicyNodeSettings().values())
        if name == "command.workspace_low":
            with pytest.raises(SettingError, match="is not below"):
                alone.change({name: value}, configured=True)


def test_what_is_refused_changes_nothing(live):
    before = live.settings
    with pytest.raises(SettingError):
        live.change({"selector": "dense", "command.rate_hz": 1.0}, configured=False)
    assert live.settings is before

    def never(settings):
        raise SettingError("the policy has no use for it")

    with pytest.raises(SettingError, match="no use"):
        live.change({"schedule": "step"}, configured=True, check=never)
    assert live.settings is before
    assert live.change({"schedule": "step"}, configured=True) == {"schedule"}
    assert live.settings.node.selector == before.node.selector


def test_a_selector_says_how_to_decode_until_another_does_not(live):
    changed = live.change({"selector": "dense"}, configured=True)
    assert changed == {"selector", "session.decode"} and live.settings.session.decode == "greedy"
    assert live.change({"selector": "dense+window"}, configured=True) == {"session.decode"}
    with pytest.raises(SettingError, match=r"contradicts selector='dense\+window'"):
        live.change({"session.decode": "greedy"}, configured=True)
    live.change({"selector": "vla_cache"}, configured=True)
    assert live.settings.session.decode == "greedy"


@pytest.mark.parametrize(
    ("given", "decode"),
    [({}, "window"), ({"selector": "dense"}, "greedy"), ({"selector": "dense+greedy"}, "greedy"),
     ({"selector": "dense", "session.decode": "window"}, "window"),
     ({"selector": "dense+window", "session.decode": "window"}, "window")],
)
def test_decoding_is_what_was_said_of_it(given, decode):
    assert PolicyNodeSettings.from_values(given).session.decode == decode


@pytest.mark.parametrize("given", [{}, {"selector": "dense+window"}])
def test_two_answers_are_refused(given):
    """Also where one of them is the default: a file's word must not be passed over."""
    with pytest.raises(SettingError, match=r"session.decode='greedy' contradicts selector='"):
        LiveSettings(given | {"session.decode": "greedy"})


def test_the_default_is_one():
    recommended = yaml.safe_load((share_directory() / "config" / "policy.yaml").read_text())
    values = recommended["/**"]["ros__parameters"]
    assert values["selector"] == str(RECOMMENDED)
    defaults = {spec.name: spec.default for spec in parameter_specs()}
    assert defaults["selector"] == str(RECOMMENDED)
    assert PolicyNodeSettings() == PolicyNodeSettings.from_values(defaults)
    assert PolicyNodeSettings() == PolicyNodeSettings.from_values(values)


@pytest.mark.parametrize("text", ["dens+window", "dense+beam", "dense+"])
def test_a_spelling_that_is_none_is_refused(text):
    with pytest.raises(SettingError, match="is not among"):
        PolicyNodeSettings.from_values({"selector": text})


@pytest.mark.parametrize("frame", ["/base_link", "base link", "base_link ", "\tbase"])
@pytest.mark.parametrize("name", ["command.base_frame", "command.tool_frame"])
def test_a_frame_that_tf_rejects_is_refused(name, frame):
    with pytest.raises(SettingError, match=f"{name}=.*tf2"):
        PolicyNodeSettings.from_values({name: frame})


@pytest.mark.parametrize("text", ["servo node", "/servo/", "//servo", "9servo", "servo__node", "ä"])
@pytest.mark.parametrize("name", ["command.servo", "command.gripper_action"])
def test_a_name_that_ros_rejects_is_refused(name, text):
    with pytest.raises(SettingError, match=f"{name}=.*is no name that ROS takes"):
        PolicyNodeSettings.from_values({name: text})
    for good in ("", "servo_node", "/a1/servo_node", "~/servo"):
        PolicyNodeSettings.from_values({name: good})


def test_a_gripper_that_would_never_move_is_refused():
    same = {"command.gripper_open_position": 0.0}
    PolicyNodeSettings.from_values(same)  # the topic of the gripper takes 0 .. 1
    with pytest.raises(SettingError, match=r"gripper_open_position=0.0 is .*never move"):
        PolicyNodeSettings.from_values(same | {"command.gripper_action": "gripper/cmd"})


def test_everything_that_limits_is_told_with_its_origin():
    live = LiveSettings(PolicyNodeSettings().values() | {"command.exclusive": False})
    first, *limits = in_force(live, {"command.exclusive": "robot.yaml"})
    assert first.startswith("in force: model embedded (default), selector attention_drift (def")
    assert "command.* from robot.yaml: exclusive false" in limits
    told = " ".join(limits)
    named = [name for name in live.asked if name.startswith("command.")]
    assert all(f" {name.removeprefix('command.')} " in told for name in named)


def test_a_servo_that_is_not_asked_is_told():
    """A launch file names it whatever the output is; that it takes no part must not be silent."""
    named = {"command.servo": "/servo_node"}
    assert not any("not asked" in line for line in in_force(LiveSettings(named), {}))
    lines = in_force(LiveSettings(named | {"command.output": "trajectory"}), {})
    assert any("command.servo=/servo_node is not asked: command.output=trajectory" in line
               for line in lines)
