# SPDX-License-Identifier: Apache-2.0
import pytest

from vla_infoentropy_ros.nodes import MIDDLEWARE  # makes rclpy importable

assert MIDDLEWARE


@pytest.fixture(scope="module")
def ros():
    """rclpy for one test module, in a domain of its own."""
    from test.nodes.harness import context

    with context():
        yield
