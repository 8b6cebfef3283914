# SPDX-License-Identifier: Apache-2.0
"""Every fault with a clock and the core alone: no middleware, no thread, no waiting."""

import math
import weakref

import numpy as np
import pytest

from test.driving.rig import SCRIPTED, SECOND, WORDS, Arm, Bench, Heard, picture
from test.nodes.policies import LOAD, SCRIPT, ScriptedPolicy
from vla_infoentropy_ros.control.resampling import ZEROS_AFTER_STOP
from vla_infoentropy_ros.driving.clock import SetClock
from vla_infoentropy_ros.driving.driver import Driver
from vla_infoentropy_ros.driving.images import PackedPicture, RawPicture
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.driving.sources import Crowd
from vla_infoentropy_ros.driving.worker import Inline
from vla_infoentropy_ros.knobs import SettingError


def stopped(bench, code):
    """Zero was sent within one period, nothing but zero since, and a fault is latched."""
    fault = bench.driver.commander.interlock.fault
    assert fault is not None and fault.code == code, bench.driver.detail()
    moving = [time_s for time_s, target in bench.arm.sent if target.twist.any()]
    zeros = [time_s for time_s, target in bench.arm.sent if not target.twist.any()]
    assert 0 < len(zeros) <= ZEROS_AFTER_STOP and 0.0 <= zeros[0] - moving[-1] <= 1 / 30 + 1e-9
    assert bench.heard.faults == [fault]
    assert not bench.driver.enable(True)[0], "enabled over a fault"


def test_an_image_becomes_an_action_and_a_command_that_expires(bench):
    rig = bench()
    rig.drive()
    (step,) = rig.heard.steps
    assert step.instruction == WORDS and step.frame.frame_id == "camera"
    assert not step.issued.dry_run and step.issued.command.twist.any()
    rig.periods(8)
    assert rig.arm.moving, "0.2 s held for 1.5 control periods"
    rig.periods(6)
    assert [twist.any() for twist in rig.arm.twists[-4:]] == [True, False, False, False]


def test_the_camera_falls_silent(bench):
    rig = bench(command__hold_periods=10.0)
    rig.drive()
    rig.periods(16)
    stopped(rig, "camera_silent")


def test_the_camera_freezes(bench):
    rig = bench(command__hold_periods=10.0)
    rig.drive()
    stamp_ns = rig.clock.now_ns()
    for _ in range(17):
        rig.clock.pass_s(1 / 30)
        rig.look(stamp_ns)
        rig.driver.tick()
    stopped(rig, "camera_frozen")
    assert rig.driver.intake.counters.frames_dropped == len(rig.heard.drops) > 10


def turns(rig, count, seed=0):
    """Actions, each on a picture of now; always the same one, if a seed is given."""
    for _ in range(count):
        rig.periods(1)
        rig.look(seed=seed)


def test_the_camera_repeats_itself_under_new_stamps(bench):
    rig = bench()
    rig.drive()
    turns(rig, 30)
    stopped(rig, "camera_frozen")
    reason = rig.heard.faults[0].reason
    assert reason.startswith("image sends the same picture") and "max_way_unseen=0.1" in reason
    moving = [time_s for time_s, target in rig.arm.sent if target.twist.any()]
    # No sooner than a camera may be silent; 0.1 m at the script's 0.112 m/s and 0.5 rad/s.
    assert 0.5 < moving[-1] - moving[0] < 0.75


@pytest.mark.parametrize(("changes", "seed", "values"), [
    ({}, None, SCRIPT.values),
    ({"command__max_way_unseen": 0.0}, 0, SCRIPT.values),
    ({}, 0, (1e-4, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)),  # a hand that hardly moves
], ids=["new", "off", "slow"])
def test_a_picture_may_stand_still_with_the_hand(bench, changes, seed, values):
    rig = bench(**changes)
    rig.drive()
    SCRIPT.values = values
    turns(rig, 60, seed)
    assert rig.arm.moving and not rig.heard.faults


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_action_that_is_not_finite(bench, value):
    rig = bench()
    rig.drive()
    SCRIPT.values = (0.0, value, 0.0, 0.0, 0.0, 0.0, 1.0)
    rig.periods(1)
    rig.look()
    stopped(rig, "invalid_action")


def test_the_policy_raises(bench):
    rig = bench()
    rig.drive()
    SCRIPT.error = RuntimeError("out of memory")
    rig.periods(1)
    rig.look()
    stopped(rig, "policy_exception")


def test_the_log_has_where_an_error_comes_from_once(bench, caplog):
    rig = bench()
    rig.drive()
    rig.driver.instruction("123")
    assert rig.driver.detail() == "instruction rejected: empty instruction"
    rig.driver.instruction(WORDS)
    SCRIPT.values = (math.nan,) * 7
    rig.periods(1, look=True)
    assert not caplog.records, "what is refused is told, and has come from nowhere"
    SCRIPT.error = RuntimeError("out of memory")
    rig.periods(3, look=True)
    (record,) = caplog.records
    assert record.levelname == "ERROR" and record.getMessage().startswith("step failed:\n  | Trace")
    assert "policies.py" in record.getMessage() and "  | RuntimeError: out" in record.getMessage()


def test_words_that_break_the_policy_are_rejected_and_the_arm_stands(bench):
    rig = bench()
    rig.drive()
    for text, told in (
        ("über", f"instruction rejected: model='{LOAD}': a new instruction raised IndexError: "),
        ("call", f"instruction rejected: model='{LOAD}': tokenize raised KeyError: 'call' (polic"),
    ):
        SCRIPT.unknown = "call"
        rig.driver.instruction(text)
        assert rig.driver.detail().startswith(told), rig.driver.detail()
        assert not rig.arm.moving and rig.driver.runner.alive
        rig.periods(1, look=True)
        assert len(rig.heard.steps) == 1, "nothing is done by words that were not taken"
    rig.driver.instruction(WORDS)
    rig.periods(1, look=True)
    assert rig.arm.moving and not rig.heard.faults


def test_the_arm_stands_where_an_instruction_cannot_be_read(bench):
    rig = bench()
    rig.drive()
    rig.driver.rest("300,000 bytes")
    assert rig.driver.detail() == "instruction rejected: 300,000 bytes" and not rig.arm.moving
    rig.periods(1, look=True)
    assert len(rig.heard.steps) == 1
    rig.driver.instruction(WORDS)  # the same as before, and new all the same
    rig.periods(1, look=True)
    assert rig.arm.moving and rig.driver.detail() == ""


def test_an_instruction_that_comes_after_one_that_cannot_be_read_is_followed():
    """The worker takes up both between two steps."""
    waiting = []

    class Busy(Inline):
        def call(self, act):
            waiting.append(act)

    rig = Bench(make_worker=Busy)
    rig.driver.rest("300,000 bytes")
    rig.driver.instruction("something else")
    for act in waiting:
        act()
    assert rig.driver.runner.instruction == "something else" and not rig.driver.runner.rejected
    rig.close()


def test_an_instruction_that_is_taken_back_while_the_node_rests_moves_nothing(bench):
    rig = bench()
    rig.drive()
    rig.driver.deactivate()
    rig.driver.instruction("")
    rig.driver.activate()
    assert rig.driver.detail().startswith("instruction rejected: ")
    assert rig.driver.enable(True)[0]
    rig.periods(3, look=True)
    assert not rig.arm.moving and len(rig.heard.steps) == 1


def test_a_step_of_a_policy_that_was_unloaded_meanwhile_says_nothing(bench):
    rig = bench()
    runner = rig.driver.runner
    session, ended = runner._session, []

    def outlived(*given):
        runner.close()
        ended.append(True)
        return type(session).step(session, *given)

    session.step = outlived
    rig.look()
    assert ended and not rig.heard.steps and not rig.heard.faults


def test_that_nobody_takes_commands_is_told_while_the_arm_may_move(bench):
    rig = bench()
    rig.arm.alone = "nobody listens to /twist_command"
    assert "nobody" not in rig.driver.detail()
    assert rig.driver.enable(True) == (
        True, "enabled: the robot will move; nobody listens to /twist_command")
    rig.look()
    assert rig.driver.detail() == "nobody listens to /twist_command"
    assert "nobody" not in rig.driver.enable(False)[1]


def test_options_that_the_policy_has_no_use_for_are_refused_before_they_are_tried(bench):
    rig = bench()
    wanted = PolicyNodeSettings.from_values(rig.driver.settings.values() | {
        "session.euler_steps": 2})
    with pytest.raises(SettingError, match="takes no Euler steps"):
        rig.driver.check(wanted)


def test_an_old_image(bench):
    rig = bench(command__hold_periods=10.0, command__camera_timeout_s=20.0)
    rig.drive()
    rig.periods(18)
    rig.look(rig.clock.now_ns() - SECOND // 2 - 1)
    stopped(rig, "stale_observation")


def test_ros_time_goes_back(bench):
    rig = bench()
    rig.drive()
    rig.clock.set_ns(SECOND)
    rig.driver.tick()
    stopped(rig, "clock_backwards")
    assert rig.heard.jumps == 1
    rig.look()
    assert rig.heard.steps[-1].result.t == 0, "older stamps begin a new episode"
    assert rig.heard.steps[-1].result.invalidated == "clock_backwards"


def test_an_image_tells_of_a_clock_that_went_back_as_a_tick_does(bench):
    """Replay has no command timer."""
    rig = bench()
    rig.look()
    rig.clock.set_ns(SECOND)
    rig.look()
    assert [step.result.t for step in rig.heard.steps] == [0, 0] and rig.heard.jumps == 1


def test_another_commander(bench):
    rig = bench()
    rig.drive()
    rig.arm.others = Crowd("/twist", ("/joystick", "/policy_node"))
    rig.periods(1)
    stopped(rig, "two_commanders")
    assert "/joystick and /policy_node publish on /twist" in rig.heard.faults[-1].reason


CAMERAS = Crowd("/image", ("/driver", "/intruder"))


def test_a_second_source_of_an_input(bench):
    rig = bench()
    rig.drive()
    rig.inputs.crowds["image"] = CAMERAS
    rig.periods(1)
    stopped(rig, "two_sources")
    reason = rig.heard.faults[-1].reason
    assert "/driver and /intruder publish on /image" in reason and "shared_inputs" in reason
    rig.driver.commander.clear_fault()
    enabled, why = rig.driver.enable(True)
    assert not enabled and "/intruder" in why


def test_what_a_second_source_says_moves_nothing(bench):
    """It is looked for once more when an action is there, which may be sooner than the timer."""
    rig = bench()
    rig.drive()
    rig.inputs.crowds["image"] = CAMERAS
    rig.clock.pass_s(0.01)
    rig.look()
    stopped(rig, "two_sources")


def test_inputs_are_shared_where_that_is_allowed(bench):
    rig = bench(command__shared_inputs="joint_states, image")
    rig.inputs.crowds["image"] = CAMERAS
    rig.drive()
    rig.periods(2, look=True)
    assert rig.arm.moving
    rig.change(command__shared_inputs="joint_states")
    rig.periods(1)
    assert not rig.arm.moving and not rig.driver.enable(True)[0]


def test_a_dry_run_has_one_source_too(bench):
    rig = bench(command__dry_run=True)
    assert rig.driver.enable(True)[0]
    rig.inputs.crowds["ee_pose"] = Crowd("/ee_pose", ("/tracker", "/tracker"))
    rig.periods(1)
    assert rig.heard.faults[-1].code == "two_sources"


def test_a_name_that_is_no_input_is_refused(bench):
    with pytest.raises(ValueError, match=r"command.shared_inputs='camera': 'camera' is not"):
        bench(command__shared_inputs="camera")


def test_a_packed_image_is_read_by_the_worker_alone(bench):
    """What checks it in a callback looks at its length only."""
    rig = bench(image_transport="compressed")
    bad = PackedPicture("jpeg", b"\xff\xd8" + b"\xff" * 1000)
    bad.check()
    rig.driver.image(bad, rig.clock.now_ns(), "camera")
    ((what, reason),) = rig.heard.rejections
    assert what == "image" and reason
    assert rig.driver.intake.counters.frames_rejected == 1 and not rig.heard.steps


REJECTED = {
    "encoding": (RawPicture("yuv", 16, 16, 48, bytes(768)), "camera", "encoding 'yuv'"),
    "size": (RawPicture("rgb8", 0, 16, 48, b""), "camera", "size 0x16"),
    "step": (RawPicture("rgb8", 16, 16, 47, bytes(752)), "camera", "step 47 is below"),
    "data": (RawPicture("rgb8", 16, 16, 48, bytes(767)), "camera", "767 bytes"),
    "frame_id": (picture(), "f" * 1000, "frame_id: 1,000 characters"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_cannot_be_used_is_counted_and_told(bench, name):
    rig = bench()
    image, frame_id, reason = REJECTED[name]
    rig.driver.image(image, rig.clock.now_ns(), frame_id)
    rig.look(0)
    rig.look(rig.clock.now_ns() + SECOND)
    assert [what for what, _ in rig.heard.rejections] == ["image"] * 3
    told = [reason for _, reason in rig.heard.rejections]
    assert reason in told[0] and "stamp is zero" in told[1] and "ahead of this node" in told[2]
    assert rig.driver.intake.counters.frames_rejected == 3 and not rig.heard.steps
    missing = "not enabled; call ~/enable with data: true"
    waits = rig.driver.detail()
    assert waits == f"waits for an image; image rejected: {told[2]}"
    rig.look()
    assert len(rig.heard.steps) == 1 and rig.driver.detail() == missing
    rig.look()
    assert "image dropped: same stamp as the last" in rig.driver.detail()


def test_an_image_that_could_not_be_read_is_told_until_one_can(bench):
    rig = bench(image_transport="compressed")
    rig.driver.image(PackedPicture("jpeg", b"\xff\xd8" + b"\xff" * 1000), rig.clock.now_ns(), "c")
    reason = rig.heard.rejections[-1][1]
    assert f"; image rejected: {reason}" in rig.driver.detail()
    rig.clock.pass_s(0.1)
    rig.look()
    assert "rejected" not in rig.driver.detail()


def test_blanks_around_an_instruction_are_no_other_instruction(bench):
    rig = bench()
    rig.look()
    for count, same in enumerate((f"  {WORDS} \n", f"{WORDS}.", WORDS.upper()), start=2):
        rig.driver.instruction(same)
        rig.periods(1)
        rig.look()
        assert [step.result.t for step in rig.heard.steps] == list(range(count)), same
    rig.driver.instruction("something else")
    rig.periods(1)
    rig.look()
    assert rig.heard.steps[-1].result.t == 0
    assert rig.heard.steps[-1].instruction == "something else"


def test_a_wrist_image_of_another_time(bench):
    rig = bench(model=f"{LOAD}:two_views")
    rig.look()
    rig.driver.further_image("wrist_image", picture(1), rig.clock.now_ns())
    rig.clock.pass_s(0.2)
    rig.look()
    rig.driver.further_image("wrist_image", picture(1), rig.clock.now_ns() - 1)
    rig.look(rig.clock.now_ns() + 1)
    told = [reason for _, reason in rig.heard.rejections]
    assert "no wrist_image has arrived" in told[0] and "0.200 s apart" in told[1]
    assert len(rig.heard.steps) == 1


def test_the_same_events_give_the_same_actions(bench):
    def run():
        rig = Bench({"selector": "attention_drift", "selection.fresh_tokens": 3})
        for seed in range(6):
            rig.look(seed=seed)
            rig.periods(3)
        rig.close()
        return [step.result.action for step in rig.heard.steps]

    first, second = run(), run()
    assert len(first) == 6
    for one, other in zip(first, second, strict=True):
        assert one.token_ids == other.token_ids
        assert np.array_equal(one.normalised, other.normalised)


def test_a_policy_that_cannot_be_carried_out_so_leaves_no_memory():
    loaded = []

    def load(settings):
        policy = ScriptedPolicy()
        policy.part_of = policy  # parts of a model know one another
        loaded.append(weakref.ref(policy))
        return policy

    clock = SetClock(SECOND)
    settings = PolicyNodeSettings.from_values(SCRIPTED | {"command.execute_actions": 2})
    driver = Driver(settings, clock, Arm(clock), Heard(), Inline, load)
    with pytest.raises(SettingError, match="execute_actions=2"):
        driver.load()
    assert driver.runner is None and loaded[0]() is None
