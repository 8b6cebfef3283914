# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture(scope="module")
def ros():
    """rclpy for one test module, in a domain of its own."""
    from test.nodes.harness import context

    with context():
        yield
