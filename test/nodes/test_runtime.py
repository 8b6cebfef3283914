# SPDX-License-Identifier: Apache-2.0
"""What a node is run by: however it ends, it has stopped what it was doing."""

from rclpy.node import Node

from vla_infoentropy_ros.nodes.runtime import run, spin


class Failing(Node):
    """The library raises over a message, as its own clock does over a negative time."""

    busy = False

    def __init__(self):
        super().__init__("failing")
        self.stopped = False

    def start(self):
        self.create_timer(0.01, self._fail)

    def _fail(self):
        raise RuntimeError("no time\n[FATAL] forged")

    def loop(self, executor, stopping):
        spin(executor, stopping)

    def stop(self):
        self.stopped = True


def test_an_error_in_a_callback_ends_the_node_stopped_and_with_a_sentence(capfd):
    made = []

    def make():
        made.append(Failing())
        return made[0]

    assert run("failing", make, ["failing"]) == 1
    assert made[0].stopped
    lines = capfd.readouterr().err.splitlines()
    assert any("ends by an error" in line for line in lines)
    assert not [line for line in lines if line.startswith(("Traceback", "[FATAL] forged"))]
