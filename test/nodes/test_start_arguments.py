# SPDX-License-Identifier: Apache-2.0
"""At the start a person's arguments win, then parameter files, then defaults; and it is said."""

from pathlib import Path

import pytest
import rclpy

from vla_infoentropy_ros.driving.parameter_files import ParameterFile, StartupError
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings, parameter_specs
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.launch_runner.commands import command_line
from vla_infoentropy_ros.launch_runner.description import Description
from vla_infoentropy_ros.nodes.parameters import overrides
from vla_infoentropy_ros.nodes.policy_node import main
from vla_infoentropy_ros.nodes.start_arguments import StartArguments

ROOT = Path(__file__).parents[2]
NODE = "/policy_node"


@pytest.fixture
def started(tmp_path):
    """The settings that a launch file ends in, and where they came from."""

    def start(file, **given):
        description = Description(ROOT / "launch" / f"{file}.launch.xml", given)
        (process,) = (each for each in description.processes if each.executable == "policy_node")
        node = f"{process.namespace}{NODE}"
        arguments = StartArguments.parse(command_line(process, tmp_path, 0))
        assert arguments.check(node) == []
        values = {}
        for source in arguments.sources:
            assert isinstance(source, ParameterFile)
            for section in source.sections:
                values |= section.values
        values |= {each.name: each.value for each in overrides(arguments.given, parameter_specs())}
        values.pop("use_sim_time", None)
        return PolicyNodeSettings.from_values(values), arguments.origins(node)

    return start


@pytest.mark.parametrize(
    ("preset", "selector"),
    [("paper_infoentropy", "info_entropy"), ("paper_vla_cache", "vla_cache"),
     ("paper_vla_pruner", "vla_pruner"), ("half_drift", "info_entropy"),
     ("policy", "attention_drift")],
)
@pytest.mark.parametrize("file", ["vla", "sim"])
def test_a_preset_runs_what_it_is_called(started, file, preset, selector):
    path = str(ROOT / "config" / f"{preset}.yaml")
    settings, origins = started(file, params_file=path)
    assert settings.node.selector == selector and origins["selector"] == path


@pytest.mark.parametrize("file", ["vla", "servo"])
def test_a_robot_file_decides_about_the_dry_run_unless_somebody_does(started, file, tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("/**:\n  ros__parameters:\n    command.dry_run: false\n    dtype: float16\n")
    files = {"robot_file": str(path), "model": "embedded"}
    settings, _ = started(file, **files)
    assert not settings.command.dry_run and settings.load.dtype == "float16"
    settings, origins = started(file, **files, dry_run="true", dtype="bfloat16")
    assert settings.command.dry_run and settings.load.dtype == "bfloat16"
    assert origins["command.dry_run"] == "launch argument"


def test_what_a_launch_file_needs_for_itself_holds_where_nobody_says_otherwise(started):
    settings, _ = started("servo", model="/checkpoints/mine")
    assert (settings.load.device, settings.load.dtype) == ("cuda", "bfloat16")
    assert settings.node.model == "/checkpoints/mine"
    assert started("vla")[0].load.device == "cpu" and started("vla")[0].command.dry_run


@pytest.mark.parametrize("file", ["vla", "sim", "servo", "gazebo", "bag"])
def test_a_selector_is_given_as_the_tables_call_it(started, file):
    needed = {"servo": {"model": "embedded"}, "bag": {"bag": "recording"}}.get(file, {})
    settings, _ = started(file, **needed, selector="attention_drift+window")
    assert (settings.node.selector, settings.session.decode) == ("attention_drift", "window")


@pytest.mark.parametrize("file", ["vla", "sim", "servo", "gazebo", "bag"])
def test_the_robots_state_is_given_as_an_argument(started, file):
    needed = {"servo": {"model": "embedded"}, "bag": {"bag": "recording"}}.get(file, {})
    assert started(file, **needed)[0].state.source == ""
    state = {"state_source": "ee_pose", "state_joints": "left,right", "state_rotation": "rpy"}
    settings, _ = started(file, **needed, **state)
    assert settings.state.source == "ee_pose" and settings.state.rotation == "rpy"
    assert settings.state.names == ("left", "right")


@pytest.mark.parametrize("file", ["vla", "servo", "bag"])
def test_a_checkpoint_that_says_little_of_itself_runs_by_arguments(started, file):
    needed = {"bag": {"bag": "recording"}}.get(file, {})
    settings, _ = started(file, **needed, model="/checkpoints/smolvla", cameras="top,wrist",
                          action_units="osc_pose", control_period_s="0.05")
    load = settings.load
    assert (load.action_units, load.control_period_s, load.cameras) == (
        "osc_pose", 0.05, "top,wrist")


def test_texts_stay_texts_and_numbers_become_numbers():
    given = {"model": "1e3", "unnorm_key": "true", "command.rate_hz": "25", "selection.k1": "3",
             "autostart": "False"}
    made = {each.name: each.value for each in overrides(given, parameter_specs())}
    assert made == {"model": "1e3", "unnorm_key": "true", "command.rate_hz": 25.0,
                    "selection.k1": 3, "autostart": False}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("autostart", "maybe", "autostart='maybe' is neither true nor false"),
        ("selection.k1", "few", "selection.k1='few' is no int"),
        ("selektor", "dense", "parameter 'selektor' is unknown; did you mean selector"),
    ],
)
def test_what_cannot_be_given_is_one_sentence(name, text, told):
    with pytest.raises(SettingError, match=told):
        overrides({name: text}, parameter_specs())


def test_what_is_no_pair_is_refused():
    with pytest.raises(StartupError, match="'dense' is not of the form name:=value"):
        StartArguments.parse(["policy_node", "--given", "dense"])


def test_later_sources_win():
    arguments = StartArguments.parse(
        ["policy_node", "--given", "schedule:=", "model:=mine", "--ros-args", "-p", "model:=x",
         "-p", "device:=cpu"]
    )
    assert arguments.rest == ("policy_node", "--ros-args", "-p", "model:=x", "-p", "device:=cpu")
    assert arguments.origins(NODE) == {"model": "launch argument", "device": "command line"}


def section(path: Path, name: str, speed: float) -> list[str]:
    path.write_text(f"{name}:\n  ros__parameters:\n    command.max_linear_speed: {speed}\n")
    return ["--params-file", str(path)]


@pytest.mark.parametrize(("order", "wins"), [
    ("every own", "own"), ("own every", "every"), ("every own every2", "own"),
    ("every own -p", "own"), ("own -p", "-p"), ("own every own2", "every"),
])
def test_the_source_that_comes_last_is_in_force_or_the_start_is_refused(tmp_path, order, wins):
    """Who wins by rcl is what rcl itself was seen to do."""
    made = {
        "every": section(tmp_path / "every.yaml", "/**", 0.1),
        "every2": section(tmp_path / "every2.yaml", "/**", 0.2),
        "own": section(tmp_path / "own.yaml", "/policy_node", 0.3),
        "own2": section(tmp_path / "own2.yaml", "/policy_node", 0.4),
        "-p": ["-p", "command.max_linear_speed:=0.5"],
    }
    names = order.split()
    words = [word for name in names for word in made[name]]
    assert rcl_takes(words) == {"every": 0.1, "own": 0.3, "-p": 0.5}[wins]
    arguments = StartArguments.parse(["policy_node", "--ros-args", *words])
    if names[-1] == wins:
        assert arguments.check(NODE) == []
        return
    with pytest.raises(StartupError, match="call the sections of both alike") as refused:
        arguments.check(NODE)
    assert "command.max_linear_speed: " in str(refused.value)
    given = ["policy_node", "--given", "command.max_linear_speed:=0.1", "--ros-args", *words]
    assert StartArguments.parse(given).check(NODE) == []


def rcl_takes(words: list[str]) -> float:
    context = rclpy.Context()
    context.init(["x", "--ros-args", "-r", "__node:=policy_node", *words])
    try:
        node = rclpy.create_node("policy_node", context=context,
                                 automatically_declare_parameters_from_overrides=True)
        try:
            return node.get_parameter("command.max_linear_speed").value
        finally:
            node.destroy_node()
    finally:
        context.try_shutdown()


LIMIT = "  ros__parameters:\n    command.max_linear_speed: 0.1\n"


@pytest.mark.parametrize(
    ("sections", "namespace", "told"),
    [
        (f"policy_nod:\n{LIMIT}", "/", "is for this node, /policy_node: it has policy_nod"),
        (f"policy_node:\n{LIMIT}", "/sim", "is for this node, /sim/policy_node: it has policy_no"),
    ],
)
def test_a_node_whose_limits_would_be_dropped_ends(tmp_path, capfd, sections, namespace, told):
    path = tmp_path / "robot.yaml"
    path.write_text(sections)
    arguments = ["policy_node", "--ros-args", "-r", f"__ns:={namespace}", "--params-file"]
    assert main([*arguments, str(path)]) == 1
    err = capfd.readouterr().err
    assert told in err and "Traceback" not in err


def test_a_node_says_what_is_in_force_and_where_from(tmp_path, capfd):
    """It ends by itself: there is no such policy."""
    path = tmp_path / "robot.yaml"
    path.write_text(f"/**:\n{LIMIT}    model: nowhere\n")
    arguments = ["policy_node", "--given", "selector:=vla_cache+window", "schedule:=",
                 "--ros-args", "--params-file", str(path)]
    assert main(arguments) == 1
    err = capfd.readouterr().err
    assert "selector vla_cache (launch argument), schedule linear (default)" in err
    assert "session.decode window (selector)" in err
    assert f"command.* from {path}: max_linear_speed 0.1" in err
    assert "command.* from default: dry_run true" in err
