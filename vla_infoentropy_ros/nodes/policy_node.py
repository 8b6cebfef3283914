# SPDX-License-Identifier: Apache-2.0
"""The policy node: camera and instruction in, end-effector commands out; a managed node."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import Executor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from vla_infoentropy_ros.control import faults
from vla_infoentropy_ros.control.faults import Fault
from vla_infoentropy_ros.foreign.text import MESSAGE, printable, quoted_lines, shown
from vla_infoentropy_ros.nodes.commander import Commander
from vla_infoentropy_ros.nodes.diagnostics import Diagnostics
from vla_infoentropy_ros.nodes.goals import Goals, Result
from vla_infoentropy_ros.nodes.grippers import check_gripper
from vla_infoentropy_ros.nodes.inputs import Inputs
from vla_infoentropy_ros.nodes.live_parameters import LiveParameters, declare
from vla_infoentropy_ros.nodes.outputs import Output
from vla_infoentropy_ros.nodes.position_outputs import OUTPUTS
from vla_infoentropy_ros.nodes.robot_state import RobotState
from vla_infoentropy_ros.nodes.runner import Frame, PolicyRunner
from vla_infoentropy_ros.nodes.runtime import StartupError, run, spin
from vla_infoentropy_ros.nodes.settings import PolicyNodeSettings
from vla_infoentropy_ros.nodes.telemetry import Telemetry
from vla_infoentropy_ros.session import StepError, StepResult

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_HOUSEKEEPING_S = 1.0


class PolicyNode(LifecycleNode):
    """configure: load and self-test; activate: run; deactivate: zero command and stop."""

    def __init__(self, **options: Any) -> None:
        super().__init__("policy_node", **options)
        self.settings = declare(self)
        self.runner: PolicyRunner | None = None
        self.active = False
        self._command_timer: Any = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._robot_state = RobotState(self)
        output = Output(self, self._robot_state)
        self.commander = Commander(output, self.settings.command, self._on_fault)
        self.telemetry = Telemetry(self, self.commander)
        self.diagnostics = Diagnostics(self)
        self.inputs = Inputs(self, self.commander, self._on_frame, self._on_instruction)
        self.telemetry.inputs = self.inputs
        self._wanted = self.settings.node.instruction
        live = LiveParameters(self.settings, lambda: self.runner is not None, self._change)
        self.add_on_set_parameters_callback(live.on_set)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/clear_fault", self._on_clear_fault)
        self._goals = Goals(self)
        self.create_timer(_HOUSEKEEPING_S, self._housekeeping, clock=self._steady)

    # Beginning and end

    def start(self) -> None:
        """Configure and activate by itself, if so asked."""
        if not self.settings.node.autostart:
            return
        if self.trigger_configure() != _SUCCESS or self.trigger_activate() != _SUCCESS:
            raise StartupError("autostart failed, see above; correct the parameters and restart")

    def loop(self, executor: Executor, stopping: threading.Event) -> None:
        spin(executor, stopping)

    def stop(self) -> None:
        """Zero command, then end."""
        if self.active:
            self.get_logger().info("stopping: the robot is sent zero")
        self._halt()
        self._unload()
        self._tell()

    # Transitions: rclpy swallows what they raise, so they log and answer themselves

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            check_gripper(self.settings.command)
            self.runner = PolicyRunner(self.settings, self)
        except (ValueError, OSError) as error:
            self.get_logger().error(f"cannot configure: {printable(error, MESSAGE)}")
            return _FAILURE
        except Exception:
            told = quoted_lines(traceback.format_exc())
            self.get_logger().error(f"cannot configure:\n{told}")
            return _FAILURE
        self.telemetry.runner = self.runner
        output = OUTPUTS[self.settings.command.output](self, self._robot_state)
        self.commander.open(self.runner.policy.convention, output)
        self.inputs.open(self.settings.node, self.runner.policy.views)
        self._introduce(self.runner)
        self._tell()
        return _SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self.runner is None:
            self.get_logger().error("cannot activate: no policy is loaded; configure first")
            return _FAILURE
        self.commander.enable(False)
        self.runner.start()
        self.inputs.guard.reset()
        self.active = True
        period_s = 1.0 / self.settings.command.rate_hz
        self._command_timer = self.create_timer(period_s, self._tick, clock=self._steady)
        if self._wanted:
            self.runner.set_instruction(self._wanted)
        self._tell()
        return _SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        ended = self._halt()
        if not ended:
            self.get_logger().error(
                "the policy step in progress did not end; its result is dropped"
            )
        self._tell()
        return _SUCCESS if ended else TransitionCallbackReturn.ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._unload()
        self._tell()
        return _SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        return _SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.stop()
        return _SUCCESS

    def _halt(self) -> bool:
        """Zero command, then no more; false if the step in progress did not end."""
        self.active = False
        self._goals.end(Result.STOPPED)
        self.commander.enable(False)
        self.commander.drain()
        if self._command_timer is not None:
            self.destroy_timer(self._command_timer)
            self._command_timer = None
        self.telemetry.forget()
        return self.runner.stop() if self.runner is not None else True

    def _unload(self) -> None:
        self.inputs.close()
        self.commander.close()
        if self.runner is not None:
            self.runner.close()
        self.runner = self.telemetry.runner = None

    def _introduce(self, runner: PolicyRunner) -> None:
        policy = runner.policy
        self.get_logger().info(
            f"policy {printable(policy.name)} {printable(policy.revision) or '(no revision)'}, "
            f"norm key {shown(policy.norm_key)}, {printable(policy.convention, MESSAGE)}; "
            f"self-test {runner.self_test_ms:.1f} ms"
        )

    # Callbacks of the executor

    def _on_frame(self, frame: Frame) -> None:
        if self.inputs.guard.clock_jumped(self.commander.output.now_ns()):
            self._clock_jumped()
        elif self.active and self.runner is not None and self.runner.post(frame):
            self.commander.counters.frames_dropped += 1

    def _on_instruction(self, text: str) -> None:
        if text == self._wanted:
            return
        self._goals.end(Result.SUPERSEDED)
        self._wanted = text
        if self.runner is not None and self.active:
            self.commander.stop()
            self.runner.set_instruction(text)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._goals.end(Result.RESET)
        self._new_episode("new_episode")
        response.success = self.active
        response.message = (
            "a new episode begins with the next image" if self.active else "the node is not active"
        )
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data and not self.active:
            response.success = False
            response.message = "refused: the node is not active; activate it, then enable"
        else:
            response.success, response.message = self.commander.enable(request.data)
        self.get_logger().info(response.message)
        self._tell()
        return response

    def _on_fault(self, fault: Fault) -> None:
        self.get_logger().error(
            f"fault {fault.code}: {fault.reason}. The robot is stopped; call ~/clear_fault, then "
            "~/enable."
        )
        self._tell()

    def _on_clear_fault(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        with self.commander.lock:
            response.success, response.message = True, self.commander.interlock.clear()
        self.get_logger().info(response.message)
        self._tell()
        return response

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As every node does. A change that is refused stops a moving robot: whoever asked for it
        wanted another motion than this, and does not get it."""
        try:
            result = super().set_parameters_atomically(parameter_list)
        except Exception as error:  # the service answers with it
            unknown = [each.name for each in parameter_list if not self.has_parameter(each.name)]
            reason = f"there is no parameter {', '.join(unknown)}" if unknown else str(error)
            self.commander.refused_change(reason)
            raise
        if not result.successful:
            self.commander.refused_change(result.reason)
        return result

    def _change(self, settings: PolicyNodeSettings, changed: set[str]) -> None:
        """Valid new parameters; the selector is exchanged at a step boundary."""
        self.settings = settings
        if any(name.startswith("command.") for name in changed):
            self.commander.configure(settings.command)
        selecting = any(name.startswith(("select", "schedule")) for name in changed)
        if selecting and self.runner is not None:
            self.commander.stop()
            self.runner.set_selector(settings)
        if self.runner is not None and any(name.startswith("session.") for name in changed):
            self.runner.set_options(settings)

    def _tick(self) -> None:
        if self.inputs.guard.clock_jumped(self.commander.output.now_ns()):
            self._clock_jumped()
        alive = self.runner is not None and self.runner.alive
        self.commander.tick(alive)
        self._goals.tick()

    def _housekeeping(self) -> None:
        status = self.telemetry.status(self.settings, self.active)
        self.diagnostics.publish(status, time.monotonic(), self.runner, self.inputs)

    def _clock_jumped(self) -> None:
        self.get_logger().warning("ROS time jumped backwards: a new episode begins")
        self.inputs.guard.reset()
        self._robot_state.clock_jumped()
        self.commander.clock_jumped()
        self._goals.tick()  # a fault of the jump is the better reason
        self._goals.end(Result.RESET)
        self._new_episode("clock_backwards")

    def _new_episode(self, reason: str) -> None:
        self.commander.stop()
        self.telemetry.forget()
        if self.runner is not None and self.active:
            self.runner.reset(reason)

    def _tell(self) -> None:
        self.telemetry.status(self.settings, self.active)

    # What a goal asks for

    def follow(self, instruction: str) -> None:
        """Begin an episode with this instruction, be it the same as before."""
        self._wanted = instruction
        if self.runner is not None:
            self.runner.set_instruction(instruction)
        self._new_episode("new_episode")

    def rest(self) -> None:
        """Stop, and do nothing until there is an instruction again."""
        self._wanted = ""
        self.commander.stop()
        if self.runner is not None:
            self.runner.rest()

    # Called by the worker thread

    def step_begins(self, frame: Frame) -> None:
        with self.commander.lock:
            self.commander.watchdog.step_begins(frame.arrival_s)

    def step_done(self, frame: Frame, result: StepResult, instruction: str) -> None:
        runner = self.runner
        if runner is None or runner.policy is None:
            return
        stamp_ns = max(frame.stamp_ns, self.commander.output.now_ns())
        issued = self.commander.issue(
            result.action.values, frame.generation, stamp_ns, (stamp_ns - frame.stamp_ns) / 1e9
        )
        step = None
        if issued is not None:
            step = self.telemetry.stepped(frame, result, issued, stamp_ns, instruction)
            self._goals.stepped(step)
            self.telemetry.selection(self.settings, step)
        self.telemetry.status(self.settings, self.active, step)

    def step_failed(self, frame: Frame, error: Exception) -> None:
        code = faults.INVALID_ACTION if isinstance(error, StepError) else faults.POLICY_EXCEPTION
        self.commander.failed(Fault(code, f"{type(error).__name__}: {error}"))
        self._tell()

    def frame_rejected(self, frame: Frame, reason: str) -> None:
        self.commander.abandoned()
        self.inputs.reject("image", reason)

    def state_changed(self) -> None:
        self._tell()


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of the executable ``policy_node``."""
    return run("policy_node", PolicyNode, args)


if __name__ == "__main__":
    sys.exit(main())
