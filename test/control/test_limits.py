# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_infoentropy_ros.control.limits import keep_inside, limit_twist
from vla_infoentropy_ros.control.settings import CommandSettings
from vla_infoentropy_ros.knobs import SettingError

PERIOD = 0.2
SETTINGS = CommandSettings()
wild = st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6).map(np.array)
positive = st.floats(1e-3, 2.0)


@st.composite
def settings(draw):
    return CommandSettings(
        max_step_translation=draw(st.floats(1e-3, 1.0)),
        max_step_rotation=draw(st.floats(1e-3, 3.0)),
        max_linear_speed=draw(positive),
        max_angular_speed=draw(positive),
        max_linear_acceleration=draw(positive),
        max_angular_acceleration=draw(positive),
    )


def growth(before, after):
    """How far a velocity (3,) is from what braking alone could have made of the one before."""
    square = before @ before
    left = np.clip(before @ after / square, 0.0, 1.0) if square else 0.0
    return np.linalg.norm(after - left * before)


@given(st.lists(wild, min_size=1, max_size=8), settings())
def test_no_sequence_of_wishes_breaks_a_limit(wishes, limits):
    previous = np.zeros(6)
    for wanted in wishes:
        twist = limit_twist(wanted, previous, PERIOD, limits).twist
        for part, kind, step in (
            (slice(0, 3), "linear", limits.max_step_translation),
            (slice(3, 6), "angular", limits.max_step_rotation),
        ):
            speed = np.linalg.norm(twist[part])
            change = growth(previous[part], twist[part])
            assert speed <= getattr(limits, f"max_{kind}_speed") + 1e-6
            assert speed * PERIOD <= step + 1e-6
            assert change <= getattr(limits, f"max_{kind}_acceleration") * PERIOD + 1e-6
        previous = twist


@given(wild)
def test_direction_is_kept_when_only_speed_is_limited(wanted):
    free = dataclasses.replace(
        SETTINGS, max_linear_acceleration=100.0, max_angular_acceleration=500.0
    )
    twist = limit_twist(wanted, np.zeros(6), PERIOD, free).twist
    for part in (slice(0, 3), slice(3, 6)):
        length = np.linalg.norm(wanted[part])
        scaled = wanted[part] * (np.linalg.norm(twist[part]) / length if length else 0.0)
        np.testing.assert_allclose(twist[part], scaled, atol=1e-9)


def test_a_wish_within_limits_passes_untouched_and_unnamed():
    wanted = np.array([0.1, -0.1, 0.05, 0.0, 0.0, 0.5])
    limited = limit_twist(wanted, np.zeros(6), PERIOD, SETTINGS)
    assert limited.by == ()
    np.testing.assert_array_equal(limited.twist, wanted)


def test_the_limits_that_acted_are_named():
    limited = limit_twist(np.array([10.0, 0, 0, 0, 0, 0]), np.zeros(6), PERIOD, SETTINGS)
    assert "linear_step" in limited.by
    assert not any(name.startswith("angular") for name in limited.by)


BOX = CommandSettings(
    limit_workspace=True, workspace_low=(0.2, -0.4, 0.0), workspace_high=(0.7, 0.4, 0.5)
)
inside = st.tuples(st.floats(0.2, 0.7), st.floats(-0.4, 0.4), st.floats(0.0, 0.5)).map(np.array)
anywhere = st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(np.array)


@given(anywhere, inside, st.floats(0.05, 1.0))
def test_a_hand_inside_the_workspace_cannot_leave_it(velocity, position, hold):
    ends = position + keep_inside(velocity, position, BOX, hold) * hold
    assert np.all(ends >= np.array(BOX.workspace_low) - 1e-9)
    assert np.all(ends <= np.array(BOX.workspace_high) + 1e-9)


@given(anywhere, anywhere)
def test_a_hand_outside_never_goes_further_out(velocity, position):
    kept = keep_inside(velocity, position, BOX, 0.3)
    assert np.all(kept[position > np.array(BOX.workspace_high)] <= 0)
    assert np.all(kept[position < np.array(BOX.workspace_low)] >= 0)


def test_a_hand_at_a_wall_slides_along_it():
    kept = keep_inside(np.array([1.0, 0.1, 0.0]), np.array([0.7, 0.0, 0.2]), BOX, 0.3)
    np.testing.assert_allclose(kept, [0.0, 0.1, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_hz": 5.0}, r"command.rate_hz=5.0 is outside \[20.0, 50.0\]"),
        ({"deadline_s": float("nan")}, "command.deadline_s"),
        ({"workspace_low": (0.0, 0.0)}, "give 3"),
        ({"workspace_low": (2.0, 0.0, 0.0)}, "swap"),
        ({"workspace_low": (float("nan"), 0.0, 0.0)}, "NaN"),
        ({"output": "joints"}, "'twist'"),
        ({"base_frame": ""}, "must not be empty"),
    ],
)
def test_a_setting_out_of_range_is_named_with_what_is_allowed(change, message):
    with pytest.raises(SettingError, match=message):
        CommandSettings(**change)
