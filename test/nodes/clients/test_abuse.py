# SPDX-License-Identifier: Apache-2.0
"""The operator of an abused robot is nobody whom the abuse itself could hold up."""

import threading

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from test.nodes.harness import PATIENCE_S, until
from vla_infoentropy_ros.nodes.clients.abuse import Operator

pytestmark = pytest.mark.usefixtures("ros")


def answer(request, response):
    response.success, response.message = True, str(getattr(request, "data", "cleared"))
    return response


def test_the_operator_speaks_for_itself_and_is_heard():
    """Not through the participant of the pictures, behind which a request to stop was lost."""
    node, ending = Node("policy_node"), threading.Event()
    operator = Operator(node.context.get_domain_id())
    node.create_service(SetBool, "~/enable", answer)
    node.create_service(Trigger, "~/clear_fault", answer)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def serve():
        while not ending.is_set():
            executor.spin_once(timeout_sec=0.02)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        assert operator.node.context is not node.context
        until(lambda: operator.ready, "the services are not seen")
        for future, told in ((operator.enable(False), "False"), (operator.clear(), "cleared")):
            until(lambda future=future: operator.listen() or future.done(), "no answer")
            assert future.result().message == told
    finally:
        ending.set()
        thread.join(PATIENCE_S)
        executor.shutdown()
        operator.close()
        node.destroy_node()
