# SPDX-License-Identifier: Apache-2.0
"""An arm that carries the hand of the tabletop, driven by the expert at a cautious speed."""

from __future__ import annotations

import numpy as np
import pytest

from vla_infoentropy_ros.arms.arm import StandInArm
from vla_infoentropy_ros.arms.models import ARMS
from vla_infoentropy_ros.arms.servo import CommandType, TwistCommand
from vla_infoentropy_ros.sim import CONTROL_PERIOD, EVALUATION_SEED, Tabletop

TICK_S = 0.02
SPEED = 0.15


@pytest.mark.parametrize("name", list(ARMS))
def test_the_task_is_solved_with_an_arm(name) -> None:
    arm = StandInArm(ARMS[name], "twist")
    arm.servo.switch(CommandType.TWIST)
    env, now_ns = Tabletop(16), 0
    env.reset(EVALUATION_SEED)
    arm.place(env.state.hand)
    for _ in range(80):
        action = env.expert()
        twist = action[:6] / CONTROL_PERIOD
        twist[:3] *= min(1.0, SPEED / max(float(np.linalg.norm(twist[:3])), 1e-9))
        for _ in range(round(CONTROL_PERIOD / TICK_S)):
            arm.servo.hear(TwistCommand(twist, arm.model.base, now_ns))
            now_ns += round(TICK_S * 1e9)
            arm.advance(now_ns, TICK_S)
            env.carry(*arm.tip, action[6], TICK_S)
        np.testing.assert_allclose(env.state.hand, arm.tip[0], atol=0.01)
        if env.success():
            return
    raise AssertionError(f"the {name} has not put the cube on the plate")
