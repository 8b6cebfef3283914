# SPDX-License-Identifier: Apache-2.0
"""The node as an operator meets it: transitions, interlocks, parameters, what it publishes."""

import itertools
from array import array

import numpy as np
import pytest
from lifecycle_msgs.srv import ChangeState, GetState
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from vla_infoentropy_ros.msg import InferenceStatus

from test.control.test_limits import growth
from test.nodes.harness import FAST, HELD, WORDS, Robot, driven, logged, parameters, until
from test.nodes.policies import LOAD, SCRIPT, STEP
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.nodes.messages import from_twist, to_ns, to_time
from vla_infoentropy_ros.nodes.policy_node import PolicyNode
from vla_infoentropy_ros.nodes.qos import NEWEST
from vla_infoentropy_ros.nodes.runtime import StartupError

pytestmark = pytest.mark.usefixtures("ros")


def test_from_image_to_command():
    with driven() as (robot, _, _):
        robot.drive()
        action = robot.actions[0]
        assert action.instruction == WORDS and action.step == 0 and action.sequence == 0
        np.testing.assert_allclose(action.values, STEP)
        assert len(action.normalised) == 7 and len(action.token_ids) == 7
        assert action.header.frame_id == "base_link" and action.frame_convention == "base"
        assert not action.dry_run and not action.limited
        expected = np.array(STEP[:6]) / 0.2
        np.testing.assert_allclose(robot.twists[0], expected, atol=1e-9)
        until(lambda: robot.openings, "no gripper command")
        assert robot.openings[0] == action.gripper_opening == 1.0
        robot.ends_in_zero()  # one image only: the command expires


def test_how_a_policy_is_loaded_is_fixed_until_cleanup():
    """The control period of a fine-tune sets the speed of the robot."""
    with driven(control_period_s=0.4, rotation="axis_angle") as (robot, node, _):
        assert node.get_parameter("control_period_s").value == 0.4
        robot.drive()
        np.testing.assert_allclose(robot.twists[0], np.array(STEP[:6]) / 0.4, atol=1e-9)
        assert robot.actions[0].rotation_convention == "axis_angle"
        for name, value in {"control_period_s": 0.1, "crop": "centre_0.9_area"}.items():
            result = robot.set(node, **{name: value})
            assert not result.successful
            assert f"{name} cannot change" in result.reason and "clean up first" in result.reason
        assert node.get_parameter("control_period_s").value == 0.4


def test_the_command_is_repeated_until_it_expires():
    with driven(command__hold_periods=5.0) as (robot, _, _):
        robot.drive()
        until(lambda: len(robot.twists) > 5, "the command is not repeated")
        robot.ends_in_zero()
        assert len(robot.openings) == 1, "the gripper is told once per action"
        assert not robot.status.fault, "waiting for an image is no fault before the time-out"


def test_selection_and_status_tell_what_was_reused():
    with driven(selector="attention_drift", selection__fresh_tokens=4) as (robot, _, _):
        robot.drive()
        robot.act()
        until(lambda: len(robot.selections) == 2, "no selection")
        first, second = robot.selections
        assert (first.views, first.rows, first.cols) == (1, 4, 4)
        assert first.fresh == 16 and second.fresh == 4 and second.reused == 12
        for selection in robot.selections:
            assert len(selection.reasons) == len(selection.ages) == 16
            assert selection.fresh + selection.reused + selection.pruned == 16
        assert len(first.attention_information) == 0 and len(second.drift) == 16
        assert to_ns(second.header.stamp) == to_ns(robot.actions[1].observation_stamp)
        until(lambda: robot.status.steps == 2, "no status")
        status = robot.status
        assert status.state == InferenceStatus.RUNNING and status.detail == ""
        assert status.reuse_ratio == pytest.approx(0.75) and status.invalidated == ""
        assert status.checkpoint == "tiny" and status.revision == "scripted"
        assert status.image_to_command_ms >= status.latency_ms > 0
        assert status.decoder_passes == 7 and status.frames_received == 2


def test_the_rate_of_steps_can_be_limited():
    with driven(max_rate_hz=0.01) as (robot, node, _):
        robot.drive()
        robot.look()
        until(lambda: node.driver.intake.counters.frames_dropped == 1, "not dropped")
        assert len(robot.actions) == 1


def test_dry_run_decides_but_has_no_command_publisher():
    with driven(command__dry_run=True) as (robot, _, _):
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        answer = robot.call(robot.enable, SetBool.Request(data=True))
        assert answer.success and "dry_run" in answer.message
        action = robot.act()
        assert action.dry_run and action.command.linear.x == 0.0
        assert robot.count_publishers("twist_command") == 0
        until(lambda: "dry run" in robot.status.detail, "does not say why", lambda: robot.status)


def test_nothing_is_sent_before_the_operator_enables():
    with driven() as (robot, _, _):
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        robot.act()
        until(lambda: "~/enable" in robot.status.detail, "does not say why", lambda: robot.status)
        assert not robot.twists
        robot.call(robot.enable, SetBool.Request(data=True))
        robot.act()
        until(lambda: robot.moving, "does not move")
        robot.call(robot.enable, SetBool.Request(data=False))
        robot.ends_in_zero()


def test_becoming_a_dry_run_stops():
    with driven(command__hold_periods=10.0) as (robot, node, _):
        robot.drive()
        assert robot.set(node, command__dry_run=True).successful
        robot.ends_in_zero()
        until(lambda: robot.count_publishers("twist_command") == 0, "still a publisher")


@pytest.mark.parametrize("begins_dry", [True, False])
def test_the_end_of_a_dry_run_waits_for_the_operator(begins_dry):
    with driven(**HELD, command__dry_run=begins_dry, meet=False) as (robot, node, _):
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        assert robot.call(robot.enable, SetBool.Request(data=True)).success
        robot.act()
        if not begins_dry:
            assert robot.set(node, command__dry_run=True).successful
        assert robot.set(node, command__dry_run=False).successful
        until(lambda: node.output.listeners(), "no one takes commands")
        action = robot.act()
        assert not action.dry_run and not from_twist(action.command).any()
        until(lambda: "~/enable" in robot.status.detail, "does not say why", lambda: robot.status)
        assert not robot.status.enabled
        robot.drive()


def test_an_enable_counts_only_while_the_node_is_active():
    with driven(**HELD, command__exclusive=True) as (robot, node, rig):
        robot.say(WORDS)
        for leave, enter in (
            ((node.trigger_deactivate,), (node.trigger_activate,)),
            ((node.trigger_deactivate, node.trigger_cleanup),
             (node.trigger_configure, node.trigger_activate)),
        ):
            for transition in leave:
                rig.do(transition)
            answer = robot.call(robot.enable, SetBool.Request(data=True))
            assert not answer.success and "activate it" in answer.message
            for transition in enter:
                rig.do(transition)
            until(lambda: node.output.listeners(), "no one takes commands")
            until(robot.camera.get_subscription_count, "no one takes images")
            until(lambda: robot.status.instruction == WORDS, "not instructed")
            assert not from_twist(robot.act().command).any() and not robot.twists


def test_parameters_of_a_node_without_policy_open_no_publisher():
    with driven() as (robot, node, rig):
        for transition in (node.trigger_deactivate, node.trigger_cleanup):
            rig.do(transition)
        assert robot.set(node, command__max_linear_speed=0.3).successful
        assert robot.count_publishers("twist_command") == 0
        for transition in (node.trigger_configure, node.trigger_activate):
            rig.do(transition)
        until(lambda: robot.count_publishers("twist_command") == 1, "not one publisher")
        until(lambda: node.output.listeners(), "no one takes commands")
        until(robot.camera.get_subscription_count, "no one takes images")
        robot.drive()


def test_the_stream_of_velocities_keeps_to_the_acceleration_limit():
    limits = {"command__max_linear_acceleration": 0.3, "command__hold_periods": 10.0}
    with driven(**limits) as (robot, node, _):
        robot.drive()
        SCRIPT.values = (-STEP[0], *STEP[1:])  # back, as fast as it came
        robot.act()
        wanted = node.driver.commander._hold.twist[:3]
        until(lambda: np.array_equal(robot.twists[-1][:3], wanted), "does not arrive")
        sent = [np.zeros(6), *(np.array(what[1]) for what in map(tuple, robot.commands))]
        changes = [growth(a[:3], b[:3]) for a, b in itertools.pairwise(sent)]
        assert max(changes) <= 0.3 / 30.0 + 1e-9
        assert len(changes) >= np.linalg.norm(wanted) / (0.3 / 30.0)


@pytest.mark.parametrize("text", ["", "   ", "123", "red " * 75_000])
def test_an_instruction_that_cannot_be_followed_stops(text):
    with driven(command__hold_periods=10.0) as (robot, node, _):
        robot.drive()
        robot.say(text)
        until(lambda: not robot.status.instruction, "still instructed")
        robot.ends_in_zero()
        assert robot.status.state == InferenceStatus.WAITING
        assert "instruction rejected" in robot.status.detail
        actions = len(robot.actions)
        counted = node.driver.intake.counters
        received = counted.frames_received
        robot.look()
        until(lambda: counted.frames_received > received, "the image does not arrive")
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed again")
        assert robot.act().step == 0 and len(robot.actions) == actions + 1


def test_reset_begins_a_new_episode():
    with driven(command__hold_periods=10.0) as (robot, _, _):
        robot.drive()
        assert robot.act().step == 1
        assert robot.call(robot.reset).success
        robot.ends_in_zero()
        assert robot.act().step == 0
        until(lambda: robot.status.steps == 1, "no status")
        assert robot.status.invalidated == "new_episode"


def test_the_log_says_what_the_node_waits_for_and_what_it_does_not_follow():
    """Once each: where there is no ros2 command, nobody sees the status."""
    with logged() as reads, driven() as (robot, _, _):
        reads("[INFO]", "waits for an instruction on the topic instruction")
        robot.say("123")
        reads("[ERROR]", "instruction rejected: ")
        robot.say(WORDS)
        reads("[INFO]", "waits for an image")
        robot.drive()
        robot.say("456")
        until(lambda: "rejected" in robot.status.detail, "not rejected", lambda: robot.status)
        reads("[ERROR]", "instruction rejected: ")


def test_selector_changes_live_at_a_step_boundary():
    with driven(selector="dense") as (robot, node, _):
        robot.drive()
        result = robot.set(node, selector="attention_drift", selection__fresh_tokens=3)
        assert result.successful, result.reason
        robot.act()
        # The change itself is told too, beside the figures of the step before it.
        until(
            lambda: robot.status.invalidated == "selector_changed",
            "no status of the first step after the change",
            lambda: robot.status,
        )
        assert (robot.status.selector, robot.status.steps) == ("attention_drift", 1)
        robot.act()
        until(lambda: robot.status.steps == 2, "no status")
        until(lambda: robot.selections[-1].fresh == 3, "no selection of three tokens")


def test_transitions_by_service():
    with driven(command__hold_periods=10.0, autostart=False) as (robot, node, _):
        change = robot.create_client(ChangeState, "policy_node/change_state")
        state = robot.create_client(GetState, "policy_node/get_state")

        def go(label: str) -> str:
            request = ChangeState.Request()
            request.transition.label = label
            request.transition.id = {
                "configure": 1,
                "cleanup": 2,
                "activate": 3,
                "deactivate": 4,
            }[label]
            assert robot.call(change, request).success, label
            return str(robot.call(state).current_state.label)

        assert robot.call(state).current_state.label == "unconfigured"
        assert robot.status.state == InferenceStatus.UNCONFIGURED
        assert go("configure") == "inactive"
        assert go("activate") == "active"
        until(robot.camera.get_subscription_count, "no one takes images")
        until(lambda: node.output.listeners(), "no one takes commands")
        robot.drive()
        assert go("deactivate") == "inactive"
        robot.ends_in_zero()
        until(lambda: robot.status.state == InferenceStatus.INACTIVE, "still active")
        assert go("cleanup") == "unconfigured"
        until(lambda: robot.count_publishers("twist_command") == 0, "still a publisher")
        assert robot.set(node, sync_tolerance_s=0.2).successful, "free to change while unconfigured"
        assert go("configure") == "inactive"
        assert go("activate") == "active"
        until(robot.camera.get_subscription_count, "no one takes images")
        until(lambda: node.output.listeners(), "no one takes commands")
        until(lambda: robot.status.instruction == WORDS, "the instruction was forgotten")
        robot.twists.clear()
        robot.act()
        assert not robot.status.enabled and not robot.twists, "moved by itself after a restart"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "os:system"),
        ("model", "touch /tmp/owned"),
        ("model", "someone/else"),
        ("revision", "0" * 40),
    ],
)
@pytest.mark.parametrize("configured", [True, False])
def test_what_names_code_or_files_cannot_be_set_over_the_graph(name, value, configured):
    with driven(autostart=configured, meet=False) as (robot, node, _):
        before = node.driver.settings
        answer = robot.set(node, **{name: value})
        assert not answer.successful
        assert f"{name} names code or files and is given at the start only" in answer.reason
        assert node.driver.settings == before and node.get_parameter(name).value != value


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_encodings(encoding):
    channels = {"mono8": 1, "rgba8": 4, "bgra8": 4}.get(encoding, 3)
    with driven() as (robot, _, _):
        robot.drive()
        row = 20 * channels + 5  # rows may be padded
        robot.camera.publish(
            Image(
                header=Header(stamp=to_time(robot.now_ns())),
                height=12,
                width=20,
                encoding=encoding,
                step=row,
                data=array("B", bytes(row * 12)),
            )
        )
        until(lambda: len(robot.actions) == 2, "not used", lambda: robot.status)


def test_compressed_images():
    import cv2

    with driven(image_transport="compressed", command__hold_periods=10.0) as (robot, node, rig):
        camera = robot.create_publisher(CompressedImage, "image/compressed", NEWEST)
        until(camera.get_subscription_count, "no one takes compressed images")
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        data = cv2.imencode(".jpg", np.full((16, 16, 3), 80, np.uint8))[1].tobytes()
        counters = node.driver.intake.counters
        for rejected, each in enumerate((b"", b"no jpeg at all", data)):
            header = Header(stamp=to_time(robot.now_ns()))
            camera.publish(CompressedImage(header=header, format="jpeg", data=array("B", each)))
            until(lambda n=rejected: counters.frames_received > n, "not received")
            until(lambda n=rejected: counters.frames_rejected == min(n + 1, 2), "not rejected")
        until(lambda: robot.actions, "the good image was not used", lambda: robot.status)
        rig.do(node.changed)
        until(lambda: robot.status.frames_rejected == 2, "not counted", lambda: robot.status)


def test_two_cameras_must_belong_together():
    with driven(model=f"{LOAD}:two_views", sync_tolerance_s=0.05) as (robot, node, rig):
        wrist = robot.create_publisher(Image, "wrist_image", NEWEST)
        until(wrist.get_subscription_count, "no one takes wrist images")
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        from test.nodes.harness import image

        stamp = robot.now_ns()
        wrist.publish(image(stamp - 200_000_000))
        until(lambda: node.driver.intake._further, "no wrist image")
        robot.look(stamp)
        rig.do(node.changed)
        until(lambda: robot.status.frames_rejected == 1, "an old wrist image was used")
        stamp = robot.now_ns()
        wrist.publish(image(stamp))
        until(lambda: node.driver.intake._further["wrist_image"][1] == stamp, "no wrist image")
        robot.look(stamp + 1)
        until(lambda: robot.actions, "no action", lambda: robot.status)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"selector": "best"}, "selector='best' is not among dense"),
        ({"schedule": "steep"}, "schedule='steep'"),
        ({"selection.k2": 10}, "k1=40 is above k2=10"),
        ({"command.rate_hz": 500.0}, "command.rate_hz"),
        ({"command.deadline_s": 1}, "decimal point"),
        ({"comand.deadline_s": 1.0}, "did you mean command.deadline_s"),
        ({"crop": "half"}, "crop='half' is not among '', 'none', 'centre_0.9_area'"),
        ({"trained_rotation": "quaternion"}, "trained_rotation='quaternion' is not among"),
        ({"control_period_s": 200.0}, "control_period_s"),
        ({"control_period_s": 0.0002}, "control_period_s=0.0002: give at least 0.005 s"),
        ({"control_period_s": 1}, "decimal point"),
        ({"control_period": 0.2}, "did you mean control_period_s"),
    ],
)
def test_a_mistake_at_startup_is_a_sentence(override, message):
    with pytest.raises(SettingError) as error:
        PolicyNode(parameter_overrides=parameters(FAST | override))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"model": f"{LOAD}:missing"}, "no such checkpoint"),
        ({"model": "no.such:thing"}, "no.such cannot be imported"),
        ({"self_test": "?"}, "self_test='?' failed"),
        ({"self_test": "a"}, "every token gives gripper 1.00"),
    ],
)
def test_a_policy_that_cannot_be_loaded_fails_to_configure(override, message, capfd):
    node = PolicyNode(parameter_overrides=parameters(FAST | override))
    with pytest.raises(StartupError, match="autostart"):
        node.start()
    assert node.driver.runner is None
    node.stop()
    node.destroy_node()
    text = capfd.readouterr().err
    assert message in text and "Traceback" not in text


def test_a_second_robot_hears_the_status_at_once():
    with driven() as (_robot, _, rig):
        late = Robot("late")
        rig.add(late)
        until(lambda: late.statuses, "no status for a late subscriber")
        rig.remove(late)
        late.destroy_node()


def test_the_overlay_is_drawn_for_a_listener_only():
    with driven(selector="attention_drift", selection__fresh_tokens=4) as (robot, _, _):
        robot.drive()
        pictures = []
        robot.create_subscription(Image, "policy_node/overlay", pictures.append, 1)
        until(lambda: robot.look() and pictures, "no overlay")
        assert (pictures[0].height, pictures[0].width, pictures[0].encoding) == (16, 16, "rgb8")
