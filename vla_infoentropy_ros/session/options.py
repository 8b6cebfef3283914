# SPDX-License-Identifier: Apache-2.0
"""How steps run, whatever the selector."""

from __future__ import annotations

from dataclasses import dataclass

from vla_infoentropy_ros.knobs import SettingError, check_knobs, knob

DECODE_MODES = ("greedy", "window")


@dataclass(frozen=True)
class SessionOptions:
    """How steps run, whatever the selector. Raises SettingError, naming field and range."""

    decode: str = knob("greedy", "greedy = one pass per action token; window = verify the last "
                       "action's tokens in one pass and repeat where they differ: in float32 "
                       "the same tokens in fewer passes, in bfloat16 up to ties within rounding",
                       choices=DECODE_MODES)
    accept_bins: int = knob(0, "decode window: tokens of the last action that are off by no more "
                            "bins than this count as verified: fewer passes, actions that differ "
                            "by about as much; the gripper is always decided anew; 0 = none",
                            low=0, high=255)
    frame_gap_limit_s: float = knob(1.0, "s; frames further apart than this share no cache",
                                    low=0.0, high=3600.0)
    entropy_gate: float = knob(0.0, "nats; a step whose action tokens have a larger mean entropy "
                               "is run again with everything recomputed; 0 = off",
                               low=0.0, high=100.0)
    euler_steps: int = knob(0, "policies that act by flow: Euler steps from noise to a chunk of "
                            "actions, each a pass of the action expert; 0 = as many as the policy "
                            "says", low=0, high=1000)

    def __post_init__(self) -> None:
        check_knobs(self)
        if self.accept_bins and self.decode != "window":
            raise SettingError(
                f"accept_bins={self.accept_bins}: only decode=window has a draft to accept; set "
                "that too, or accept_bins to 0"
            )
