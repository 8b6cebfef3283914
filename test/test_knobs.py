# SPDX-License-Identifier: Apache-2.0
"""A setting is of the type of its default, wherever it comes from: files hold anything."""

import pytest

from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.knobs import SettingError


@pytest.mark.parametrize(("name", "value", "wanted"), [
    ("command.max_linear_speed", "0.1", "a number"),
    ("command.max_linear_speed", True, "a number"),
    ("command.max_linear_speed", None, "a number"),
    ("command.limit_workspace", "false", "true or false"),
    ("command.limit_workspace", 1, "true or false"),
    ("command.tolerated_misses", 0.5, "a whole number"),
    ("command.base_frame", 7, "a text"),
    ("command.workspace_low", [0.0, 0.0, "low"], "a list, each a number"),
    ("command.workspace_low", 0.0, "a list, each a number"),
    ("selection.cache_layers", [2.5], "a list, each a whole number"),
])
def test_another_type_is_refused_by_name(name, value, wanted):
    with pytest.raises(SettingError) as caught:
        PolicyNodeSettings.from_values({name: value})
    assert str(caught.value).startswith(f"{name}=")
    assert str(caught.value).endswith(f" must be {wanted}")


def test_a_whole_number_is_a_number():
    made = PolicyNodeSettings.from_values({"command.max_linear_speed": 1})
    assert made.command.max_linear_speed == 1
