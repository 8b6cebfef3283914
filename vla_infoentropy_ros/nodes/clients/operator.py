# SPDX-License-Identifier: Apache-2.0
"""The operator of one policy node: its interlock, its faults, its instruction and its status."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import rclpy
from action_msgs.msg import GoalInfo
from action_msgs.srv import CancelGoal
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from unique_identifier_msgs.msg import UUID

from vla_infoentropy_ros.action import ExecuteInstruction
from vla_infoentropy_ros.control.faults import FAULT_CODES
from vla_infoentropy_ros.foreign.text import MESSAGE, one_line, printable, shown, spelled
from vla_infoentropy_ros.msg import InferenceStatus
from vla_infoentropy_ros.nodes.clients.episode_client import GraphError
from vla_infoentropy_ros.nodes.discovery import reach, stay_local
from vla_infoentropy_ros.nodes.messages import fault_text
from vla_infoentropy_ros.nodes.publishers import full_names
from vla_infoentropy_ros.nodes.qos import LATCHED

_SLICE_S = 0.05
_BURST_S = 0.3
"""Within which a latched topic has told all that it keeps; the newest comes last."""
_AGAIN_S = 1.5
"""A status is told every second: what one says after that time is no word from before."""
_REJECTED = "instruction rejected: "
_STATES = ("UNCONFIGURED", "INACTIVE", "WAITING", "RUNNING", "FAULT")
_NOT_RUNNING = (InferenceStatus.UNCONFIGURED, InferenceStatus.INACTIVE)

Answer = tuple[bool, str]
"""Whether it is as asked, and the node's sentence."""


class Operator:
    """On the domain of the environment; use it as a context manager.

    policy: full name of the node. patience_s: within which it must be found, and answer. All
    methods raise GraphError where it does not; the message says what to look at.
    """

    def __init__(self, policy: str, patience_s: float) -> None:
        self._policy, self._patience_s = policy, patience_s
        self.status: InferenceStatus | None = None
        self._heard_s = 0.0
        stay_local()
        self._context = rclpy.Context()
        try:
            # Signals are the caller's: they end the wait, and with it the context, in order.
            rclpy.init(args=[], context=self._context,
                       signal_handler_options=SignalHandlerOptions.NO)
            # As config/sros2 knows it, which lets the operator serve nothing.
            self._node = rclpy.create_node(
                "operator", context=self._context, use_global_arguments=False,
                start_parameter_services=False, enable_rosout=False,
                parameter_overrides=[Parameter("start_type_description_service", value=False)],
            )
        except Exception as error:  # the library's own, for a domain, a middleware, keys
            raise GraphError(f"cannot join the graph: {one_line(error, MESSAGE)}") from error
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._node.create_subscription(InferenceStatus, f"{policy}/status", self._on_status,
                                       LATCHED)

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def enable(self, on: bool) -> Answer:
        """Open or close the operator's interlock. It is closed for all nodes of this name, and
        opened for one alone."""
        if on and (told := self.namesakes()):
            return False, f"not asked: {told}"
        return self._call(SetBool, "enable", SetBool.Request(data=on))

    def trigger(self, name: str) -> Answer:
        """clear_fault: release what is latched; the node then says what motion needs. reset: zero
        command, and a new episode with the next image."""
        if told := self.namesakes():
            return False, f"not asked: {told}"
        return self._call(Trigger, name, Trigger.Request())

    def newest(self) -> InferenceStatus:
        """What the node has told last."""
        if not self._wait(lambda: self.status is not None):
            raise GraphError(self._missing())
        self._pass(_BURST_S)
        assert self.status is not None
        return self.status

    def namesakes(self) -> str:
        """A sentence where more than one node has the name, since each hears what one is told;
        else ""."""
        topic = f"{self._policy}/status"
        if not self._wait(lambda: self._node.count_publishers(topic)):
            raise GraphError(self._missing())
        self._pass(_BURST_S)
        count = self._node.count_publishers(topic)
        if count < 2:
            return ""
        return (f"{count} nodes are called {self._policy}, and each would obey; give each robot a "
                "namespace (namespace:=left), or stop all but one; a killed one is seen for up to "
                "half a minute")

    def instruct(self, text: str) -> Answer:
        """Give an instruction on the topic, and hear whether the node follows it."""
        if told := self.namesakes():
            return False, f"not given: {told}"
        before = self.newest()
        if before.state in _NOT_RUNNING:
            return False, f"not given: {before.detail}"
        topic = f"{self._policy.rpartition('/')[0]}/instruction"
        others = full_names(self._node.get_publishers_info_by_topic(topic))
        if before.enabled and others:
            return False, (f"not given: {' and '.join(others)} publishes on {topic}, and two "
                           "sources stop a robot that is enabled; disable it, or end the other")
        mouth = self._node.create_publisher(String, topic, LATCHED)
        mouth.publish(String(data=text))
        said_s = time.monotonic()

        def answered() -> bool:
            now = self.status
            assert now is not None
            rejected = now.detail.startswith(_REJECTED)
            old = now.detail == before.detail and time.monotonic() - said_s < _AGAIN_S
            return spelled(now.instruction) == spelled(text) or (rejected and not old)

        taken = self._wait(answered)
        now = self.status
        assert now is not None
        if not taken:
            return False, (f"not taken within {self._patience_s:g} s on {topic}; the node says: "
                           f"{now.detail or 'nothing'}")
        if not now.instruction:
            return False, now.detail
        return True, "; ".join(filter(None, (f"in force: {shown(now.instruction)}", now.detail)))

    def carry_out(
        self, text: str, time_limit_s: float, step_limit: int, progress: Callable[[str], None]
    ) -> Answer:
        """Have an instruction carried out within limits, 0 for none, until it ends; an interrupt
        ends it and stops the robot; so does a node that is not heard of any more. progress: told a
        line after each step. As asked is one that ends by a limit, after a step at least."""
        if told := self.namesakes():
            return False, f"not given: {told}"
        action = f"{self._policy}/execute_instruction"
        client = ActionClient(self._node, ExecuteInstruction, action)
        ending = self._node.create_client(CancelGoal, f"{action}/_action/cancel_goal")
        if not self._wait(lambda: client.server_is_ready() and ending.service_is_ready()):
            raise GraphError(self._missing())
        goal = ExecuteInstruction.Goal(instruction=text, time_limit=time_limit_s,
                                       step_limit=step_limit)
        # Of our own making: a goal that the node has not taken up yet can be ended by it too.
        goal_id = UUID(uuid=list(uuid4().bytes))
        sent = client.send_goal_async(
            goal, lambda message: progress(_step_told(message.feedback)), goal_id)
        waits = ""

        def over() -> bool:
            nonlocal waits
            if self.status is not None and spelled(self.status.instruction) == spelled(text):
                waits = self.status.detail
            return bool(ended.done())

        try:
            if not self._wait(sent.done):
                raise GraphError(self._mute())
            ended = sent.result().get_result_async()
            while not self._wait(over):
                if time.monotonic() - self._heard_s > self._patience_s:
                    raise GraphError(self._mute())
            result = ended.result().result
        except (GraphError, KeyboardInterrupt) as given_up:
            # What nobody hears of must not go on moving, nor begin to.
            ending.call_async(CancelGoal.Request(goal_info=GoalInfo(goal_id=goal_id)))
            result = self._result(sent)
            if result is None:
                raise GraphError(f"{self._mute()}. It was told to end the instruction, and does so "
                                 "when it hears of it") from given_up
            if isinstance(given_up, GraphError):
                raise GraphError(f"{given_up}. The instruction was ended") from given_up
        told = (f"ended by {printable(result.reason)} after {result.steps} steps in "
                f"{result.duration:.1f} s; the robot stands")
        done = result.steps > 0 and result.reason in (result.TIME_LIMIT, result.STEP_LIMIT)
        why = result.detail or ("" if result.steps else waits)
        return done, "; ".join(filter(None, (told, printable(why, MESSAGE))))

    def _result(self, sent: Any) -> Any:
        """Of a goal that was sent; None where the node does not tell it in time."""
        if not self._wait(sent.done):
            return None
        ended = sent.result().get_result_async()
        return ended.result().result if self._wait(ended.done) else None

    def _call(self, kind: Any, name: str, request: Any) -> Answer:
        client = self._node.create_client(kind, f"{self._policy}/{name}")
        if not self._wait(client.service_is_ready):
            raise GraphError(self._missing())
        future = client.call_async(request)
        if not self._wait(future.done):
            raise GraphError(self._mute())
        answer = future.result()
        return bool(answer.success), printable(answer.message, MESSAGE)

    def _wait(self, condition: Callable[[], Any]) -> bool:
        """Whether it came true in time."""
        limit_s = time.monotonic() + self._patience_s
        while not condition():
            if time.monotonic() > limit_s:
                return False
            self._executor.spin_once(timeout_sec=_SLICE_S)
        return True

    def _pass(self, seconds: float) -> None:
        """Hear what comes within this time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=_SLICE_S)

    def _mute(self) -> str:
        return (f"{self._policy} does not answer within {self._patience_s:g} s: it was killed, or "
                "its machine is busy; look at its log")

    def _missing(self) -> str:
        """Why nobody is there, as far as the graph tells."""
        served = self._node.get_service_names_and_types()
        there = sorted(name.removesuffix("/clear_fault") for name, _ in served
                       if name.endswith("/clear_fault"))
        if self._policy in there:
            return (f"{self._policy} is there, but says nothing within {self._patience_s:g} s: it "
                    "loads its policy, or its machine is busy; ask again, or look at its log")
        others = f"; other policy nodes there: {', '.join(there)}" if there else ""
        return (f"no {self._policy} within {self._patience_s:g} s on domain "
                f"{self._context.get_domain_id()}, {reach()}: it may still be starting, ask again; "
                "else, is the node running, and started with the same domain, discovery range, "
                f"namespace, name and RMW_IMPLEMENTATION{others}")

    def _on_status(self, message: InferenceStatus) -> None:
        self.status, self._heard_s = message, time.monotonic()


def _step_told(feedback: Any) -> str:
    return (f"step {feedback.steps}: {feedback.latency_ms:.1f} ms, image to command "
            f"{feedback.image_to_command_ms:.1f} ms, {feedback.reuse_ratio:.0%} reused")


def told(status: InferenceStatus) -> list[str]:
    """What a person wants to know of a status, a line each."""
    state = next(name for name in _STATES if getattr(InferenceStatus, name) == status.state)
    runs = f"{status.selector}, schedule {status.schedule}, decode {status.decode}"
    lines = {
        "state": state,
        "detail": "" if status.fault else status.detail,  # which then tells the fault again
        "fault": fault_text(status),
        "": _remedy(status.fault_code) if status.fault else "",
        "interlocks": f"{'enabled' if status.enabled else 'not enabled'}, "
                      f"dry run {'on' if status.dry_run else 'off'}",
        "instruction": status.instruction or "none",
        "runs": f"{runs}; {status.checkpoint}" if status.checkpoint else runs,
        "last step": f"{status.latency_ms:.1f} ms, image to command "
                     f"{status.image_to_command_ms:.1f} ms, {status.reuse_ratio:.0%} reused"
                     if status.steps else "none",
    }
    return [f"{word:12}{printable(text, MESSAGE)}" for word, text in lines.items() if text]


def _remedy(code: str) -> str:
    """Foreign text too: the node may be of another release."""
    what = FAULT_CODES.get(code, "not known here")
    return f"{what}; mend it (docs/faults.md, {code}), then clear_fault, then enable"
