# SPDX-License-Identifier: Apache-2.0
"""The policy node: camera and instruction in, end-effector commands out; a managed node."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import Executor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from vla_infoentropy_ros.control import faults
from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.driving.driver import WAITS_FOR_IMAGE, Driver, Step
from vla_infoentropy_ros.driving.goal import Goals, Reason
from vla_infoentropy_ros.driving.in_force import in_force
from vla_infoentropy_ros.driving.intake import VIEWS, Frame
from vla_infoentropy_ros.driving.live_settings import LiveSettings
from vla_infoentropy_ros.driving.runner import PolicyRunner
from vla_infoentropy_ros.driving.settings import parameter_specs
from vla_infoentropy_ros.foreign.text import MESSAGE, printable, quoted_lines, shown
from vla_infoentropy_ros.msg import InferenceStatus
from vla_infoentropy_ros.nodes.bounded import answering
from vla_infoentropy_ros.nodes.diagnostics import Diagnostics
from vla_infoentropy_ros.nodes.goals import GoalServer
from vla_infoentropy_ros.nodes.grippers import check_gripper
from vla_infoentropy_ros.nodes.heap import make_room
from vla_infoentropy_ros.nodes.inputs import Inputs
from vla_infoentropy_ros.nodes.outputs import CommandPublishers
from vla_infoentropy_ros.nodes.parameters import declare_specs, mistaken, together
from vla_infoentropy_ros.nodes.publishers import TopicSources
from vla_infoentropy_ros.nodes.ros_clock import RosClock
from vla_infoentropy_ros.nodes.runtime import StartupError, run, spin
from vla_infoentropy_ros.nodes.servo_client import check_servo
from vla_infoentropy_ros.nodes.start_arguments import StartArguments
from vla_infoentropy_ros.nodes.stop_line import StopLine
from vla_infoentropy_ros.nodes.telemetry import Telemetry
from vla_infoentropy_ros.nodes.tf_listener import check_pose_source
from vla_infoentropy_ros.selection import load_plugins
from vla_infoentropy_ros.session import notes_on

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_HOUSEKEEPING_S = 1.0


class PolicyNode(LifecycleNode):
    """configure: load and self-test; activate: run; deactivate: zero command and stop."""

    def __init__(self, start: StartArguments | None = None, **options: Any) -> None:
        """start: what it was started with, to say where its parameters came from."""
        super().__init__("policy_node", **options)
        self._guard_services()
        self._start = start or StartArguments()
        self._loading = False
        self._waiting = ""  # what the log has said last of it
        self._live = LiveSettings(declare_specs(self, parameter_specs()))
        self.output = CommandPublishers(self)
        self.sources = TopicSources(self)
        self.driver = Driver(
            self._live.settings, RosClock(self), self.output, self, sources=self.sources
        )
        self.telemetry = Telemetry(self, self.driver)
        self.diagnostics = Diagnostics(self)
        self.inputs = Inputs(self, self.driver, self.sources, self._on_instruction,
                             self._on_no_instruction)
        self.add_on_set_parameters_callback(self._on_set)
        self._goals = Goals(self.driver)
        self._goal_server = GoalServer(self, self._goals)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_HOUSEKEEPING_S, self._housekeeping, clock=steady)
        operator = {
            "~/reset": (Trigger, self._on_reset),
            "~/enable": (SetBool, self._on_enable),
            "~/clear_fault": (Trigger, self._on_clear_fault),
        }
        self._stop_line = StopLine(self, operator, self._on_stop_line_error)

    # Beginning and end

    def start(self) -> None:
        """Say what is in force; configure and activate by itself, if so asked."""
        origins = self._start.origins(self.get_fully_qualified_name())
        for line in in_force(self._live, origins):
            self.get_logger().info(printable(line, MESSAGE))
        for problem in load_plugins():  # all now: over the graph they are chosen, not imported
            self.get_logger().warning(printable(problem, MESSAGE))
        if not self.driver.settings.node.autostart:
            return
        if self.trigger_configure() != _SUCCESS or self.trigger_activate() != _SUCCESS:
            raise StartupError("autostart failed, see above; correct the parameters and restart")

    def loop(self, executor: Executor, stopping: threading.Event) -> None:
        spin(executor, stopping)

    def stop(self) -> None:
        """Zero command, then end."""
        if self.driver.active:
            self.get_logger().info("stopping: the robot is sent zero")
        self._halt()
        self._unload()
        self.changed()

    def destroy_node(self) -> None:
        self._stop_line.close()
        super().destroy_node()

    @property
    def busy(self) -> bool:
        """A policy is being loaded: a signal need not wait for its end."""
        return self._loading

    # Transitions: rclpy swallows what they raise, so they log and answer themselves

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        settings = self.driver.settings
        self._loading = True
        try:
            check_gripper(settings.command)
            check_servo(settings.command)
            check_pose_source(settings.command)
            runner = self.driver.load()
        except (ValueError, OSError) as error:
            self.get_logger().error(f"cannot configure: {printable(error, MESSAGE)}")
            return _FAILURE
        except Exception:
            told = quoted_lines(traceback.format_exc())
            self.get_logger().error(f"cannot configure:\n{told}")
            return _FAILURE
        finally:
            self._loading = False
        make_room()
        self.inputs.open(settings, runner.policy.views)
        self._introduce(runner)
        self.changed()
        return _SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self.driver.runner is None:
            self.get_logger().error("cannot activate: no policy is loaded; configure first")
            return _FAILURE
        self.driver.activate()
        period_s = 1.0 / self.driver.settings.command.rate_hz
        self._stop_line.every(period_s, self._tick)
        self.changed()
        return _SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        ended = self._halt()
        if not ended:
            self.get_logger().error(
                "the policy step in progress did not end; its result is dropped"
            )
        self.changed()
        return _SUCCESS if ended else TransitionCallbackReturn.ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._unload()
        self.changed()
        return _SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        return _SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        return _SUCCESS

    def _halt(self) -> bool:
        """Zero command, then no more; false if the step in progress did not end."""
        self._goals.end(Reason.STOPPED)
        self._stop_line.rest()
        return self.driver.deactivate()

    def _unload(self) -> None:
        self.inputs.close()
        self.driver.unload()

    def _introduce(self, runner: PolicyRunner) -> None:
        policy = runner.policy
        self.get_logger().info(
            f"policy {printable(policy.name)} {printable(policy.revision) or '(no revision)'}, "
            f"norm key {shown(policy.norm_key)}, {printable(policy.convention, MESSAGE)}; "
            f"{runner.times}"
        )
        cameras = ", ".join(VIEWS[: policy.views])
        self.get_logger().info(f"it takes {policy.views} picture(s) of a moment: {cameras}")
        if self.driver.slow:
            self.get_logger().warning(printable(self.driver.slow, MESSAGE))
        given = self.driver.settings
        for note in notes_on(policy, given.node.selector, given.selection, given.session):
            self.get_logger().info(printable(note, MESSAGE))
        if assumed := getattr(policy, "assumed", ""):
            self.get_logger().warning(printable(assumed, MESSAGE))

    # Callbacks of the executor

    def _on_instruction(self, text: str) -> None:
        if not self.driver.follows(text):  # a latched topic repeats itself
            self._goals.end(Reason.SUPERSEDED)
            self.driver.instruction(text)

    def _on_no_instruction(self, reason: str) -> None:
        # Whatever it says, it is not the instruction before.
        self._goals.end(Reason.SUPERSEDED)
        self.driver.rest(reason)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._goals.end(Reason.RESET)
        self.driver.reset()
        active = response.success = self.driver.active
        response.message = (
            "a new episode begins with the next image" if active else "the node is not active"
        )
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self.driver.enable(request.data)
        self.get_logger().info(response.message)
        self.changed()
        return response

    def _on_clear_fault(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        response.success, response.message = True, self.driver.commander.clear_fault()
        self.get_logger().info(response.message)
        self.changed()
        return response

    def _guard_services(self) -> None:
        """Those that rclpy made for every node and every managed one; ours have the stop line."""
        for service in self.services:
            answer = service.callback
            if service.srv_type is SetParameters:
                answer = together(self, answer)
            service.callback = answering(self, service.srv_name, answer, self._refused_change)

    def _refused_change(self, reason: str) -> None:
        self.driver.commander.refused_change(reason)

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        """The callback for rclpy: nothing changes unless all of it is valid together."""
        known = {spec.name for spec in parameter_specs()}
        asked = {change.name: change.value for change in changes if change.name in known}
        try:
            changed = self._live.change(
                asked, self.driver.runner is not None, self.driver.check
            )
        except (ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=printable(error, MESSAGE))
        if changed:
            self.driver.configure(self._live.settings, changed)
        return SetParametersResult(successful=True)

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As every node does. A change that is refused stops a moving robot: whoever asked for it
        wanted another motion than this, and does not get it."""
        if reason := mistaken(self, parameter_list):
            result = SetParametersResult(successful=False, reason=printable(reason, MESSAGE))
        else:
            result = super().set_parameters_atomically(parameter_list)
        if not result.successful:
            self._refused_change(result.reason)
        return result

    # Called by the stop line

    def _on_stop_line_error(self) -> None:
        self.driver.commander.stop(
            Fault(faults.WORKER_DIED, "the command timer failed; see the log, restart the node")
        )

    def _tick(self) -> None:
        self.driver.tick()
        self._goals.tick()

    def _housekeeping(self) -> None:
        self.inputs.look()
        self.diagnostics.publish(self.changed(), self.driver, self.inputs.problem)

    # An audience of driving, called by whichever thread it happens in

    def stepped(self, step: Step) -> None:
        self.telemetry.action(step)
        self._goals.stepped(step)
        self.telemetry.selection(step)
        self.changed(step)

    def rejected(self, what: str, reason: str) -> None:
        self.get_logger().error(f"{what} rejected: {reason}", throttle_duration_sec=2.0)

    def dropped(self, reason: str) -> None:
        self.get_logger().warning(f"image dropped: {reason}", throttle_duration_sec=2.0)

    def failed(self, frame: Frame, fault: Fault) -> None:
        self.changed()

    def faulted(self, fault: Fault) -> None:
        self.get_logger().error(
            f"fault {fault.code}: {fault.reason}. The robot is stopped; call ~/clear_fault, then "
            "~/enable."
        )
        self.changed()

    def clock_jumped(self) -> None:
        self.get_logger().warning("ROS time jumped backwards: a new episode begins")
        self._goals.tick()  # a fault of the jump is the better reason
        self._goals.end(Reason.RESET)

    def changed(self, step: Step | None = None) -> InferenceStatus:
        """Tell the status, with the figures of ``step``, else of the last one."""
        runner, inputs = self.driver.runner, self.inputs
        instructed = runner is not None and bool(runner.instruction)
        status = self.telemetry.status(
            step, inputs.problem if instructed else inputs.instruction_problem
        )
        self._log_waiting(status.state)
        return status

    def _log_waiting(self, state: int) -> None:
        """What it waits for, and an instruction that it rejected, once each: ~/status is not seen
        where nobody listens."""
        if state == InferenceStatus.RUNNING:
            self._waiting = WAITS_FOR_IMAGE  # that is nothing to be told between two images
        if state != InferenceStatus.WAITING or (text := self.driver.missing()) == self._waiting:
            return
        self._waiting = text
        if self.driver.runner is not None and self.driver.runner.rejected:
            self.get_logger().error(printable(text, MESSAGE))
        else:  # a line of its own: a logger keeps to one level in each
            self.get_logger().info(printable(text, MESSAGE))


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the executable ``policy_node``."""
    return run("policy_node", PolicyNode, args, parameter_specs())
