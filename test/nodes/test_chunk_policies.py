# SPDX-License-Identifier: Apache-2.0
"""SmolVLA and pi0 in a node that lives: two cameras, the robot's joints and words become chunks."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from test.models.tiny_pi0 import NAMED, write_transformers_pi0
from test.models.tiny_smolvla import STATE, write_tiny_smolvla
from test.nodes.harness import driven, image, until
from test.nodes.tape import Watched
from vla_infoentropy_ros.nodes.messages import from_twist, to_time
from vla_infoentropy_ros.nodes.qos import NEWEST

pytestmark = pytest.mark.usefixtures("ros")

WORDS = "pick up the red block"
JOINTS = [f"joint{i}" for i in range(STATE)]


def arrived(node: Watched, stamp_ns: int) -> bool:
    """Both topics' news of that time."""
    wrist = node.driver.intake._further.get("wrist_image", (None, 0))[1]
    joints = node.driver.robot._joints
    return wrist == stamp_ns and {news.stamp_ns for _, news in joints.values()} == {stamp_ns}


@pytest.mark.parametrize("write", [write_tiny_smolvla, write_transformers_pi0])
def test_a_checkpoint_moves_a_robot_by_arguments_alone(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    loading = {name: value for name, value in asdict(NAMED).items() if value not in ("", 0.0)}
    arguments = loading | {
        "model": str(write(tmp_path / "tiny")), "selector": "attention_drift",
        "selection__fresh_tokens": 6,
        "state__source": "joint_states", "state__joints": ",".join(JOINTS),
    }
    with driven(meet=False, **arguments) as (robot, node, _):
        wrist = robot.create_publisher(Image, "wrist_image", NEWEST)
        joints = robot.create_publisher(JointState, "joint_states", NEWEST)
        until(lambda: wrist.get_subscription_count() and joints.get_subscription_count(),
              "cameras and joints are not heard")
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed", lambda: robot.status)
        answer = robot.call(robot.enable, SetBool.Request(data=True))
        assert answer.success, answer.message
        for step in range(3):
            count, now_ns = len(robot.actions), robot.now_ns()
            joints.publish(JointState(header=Header(stamp=to_time(now_ns)), name=JOINTS,
                                      position=[0.1 * step] * STATE))
            wrist.publish(image(now_ns, (48, 64, 3), seed=10 + step))
            until(functools.partial(arrived, node, now_ns), "wrist image or joints are not heard")
            robot.look(now_ns, shape=(48, 64, 3), seed=step)
            until(lambda count=count: len(robot.actions) > count, "no action",
                  lambda: robot.status)
        action = robot.actions[-1]
        chunk = np.reshape(action.chunk, (5, 7))
        np.testing.assert_array_equal(chunk[0], action.values)
        assert len(action.token_ids) == 0 and action.row == 0
        until(lambda: len(robot.selections) == 3, "no selection")
        assert [selection.fresh for selection in robot.selections] == [32, 12, 12]
        assert from_twist(action.command).any() and not robot.status.fault
        until(lambda: any(twist.any() for twist in robot.twists), "no motion")
