# SPDX-License-Identifier: Apache-2.0
"""What a stranger may send to a moving robot's policy node, and a robot that bears it.

Everything is made beforehand, so that sending is all that takes time.
"""

from __future__ import annotations

import functools
import struct
import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Header, String
from std_srvs.srv import SetBool, Trigger

from vla_infoentropy_ros.action import ExecuteInstruction
from vla_infoentropy_ros.foreign.pictures import PNG_MAGIC
from vla_infoentropy_ros.msg import InferenceStatus
from vla_infoentropy_ros.nodes.messages import from_twist, to_ns
from vla_infoentropy_ros.nodes.qos import LATCHED, NEWEST

INSTRUCTION = "put the red cube on the white plate"
_DEEP = QoSProfile(depth=1000)
_PICTURES = 8


@dataclass(frozen=True)
class Sent:
    """A velocity command. stamp_s: when the node sent it, by its clock. moving: it is not zero."""

    stamp_s: float
    moving: bool


class Operator:
    """Lets the robot move, and stops it, in a context of its own: to the middleware another
    participant, as the process of an operator is.

    A request that one participant sends behind 10 MB of pictures may be lost with them; DDS sends
    it again at its next heartbeat, every 3 s. So of 120 stops three came 0.7 to 2 s late, to a node
    that had gone on as it should.
    """

    def __init__(self, domain: int) -> None:
        self._context = Context()
        self._context.init([], initialize_logging=False, domain_id=domain)
        self.node = Node("operator", context=self._context)
        self._enable = self.node.create_client(SetBool, "policy_node/enable")
        self._clear = self.node.create_client(Trigger, "policy_node/clear_fault")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    @property
    def ready(self) -> bool:
        """The node serves."""
        return self._enable.service_is_ready() and self._clear.service_is_ready()

    def enable(self, on: bool) -> Any:
        """The future of the answer, which arrives in `listen`."""
        return self._enable.call_async(SetBool.Request(data=on))

    def clear(self) -> Any:
        """The same, of the fault."""
        return self._clear.call_async(Trigger.Request())

    def listen(self) -> None:
        """Take what has arrived."""
        self._executor.spin_once(timeout_sec=0.0)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


class AbusedRobot(Node):
    """Camera and recorder with their operator; `abuses` are calls that each do one thing once."""

    def __init__(self) -> None:
        super().__init__("abused_robot")
        self.commands: list[Sent] = []
        self.status: InferenceStatus | None = None
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (_PICTURES, 480, 640, 3), dtype=np.uint8)
        self._pictures = [jpeg(cv2.GaussianBlur(each, (9, 9), 0)) for each in noise]
        self._looked = 0
        self._camera = self.create_publisher(CompressedImage, "image/compressed", NEWEST)
        self._mouth = self.create_publisher(String, "instruction", LATCHED)
        self._joints = self.create_publisher(JointState, "joint_states", NEWEST)
        self._hand = self.create_publisher(PoseStamped, "ee_pose", NEWEST)
        self.create_subscription(InferenceStatus, "policy_node/status", self._on_status, LATCHED)
        self.create_subscription(TwistStamped, "twist_command", self._on_twist, _DEEP)
        self.operator = Operator(self.context.get_domain_id())
        self._set = self.create_client(SetParameters, "policy_node/set_parameters")
        self._goals = ActionClient(self, ExecuteInstruction, "policy_node/execute_instruction")
        self.abuses = self._abuses()

    @property
    def ready(self) -> bool:
        """The node serves, and all topics have met."""
        return (
            self.status is not None
            and self._camera.get_subscription_count() > 0
            and self._joints.get_subscription_count() > 0
            and self.operator.ready
            and self._set.service_is_ready()
        )

    @property
    def instructed(self) -> bool:
        return self.status is not None and bool(self.status.instruction == INSTRUCTION)

    def look(self) -> None:
        """The next good picture, and where the joint is."""
        joint = JointState(name=["joint_1"], position=[0.0])
        joint.header.stamp = self.get_clock().now().to_msg()
        self._joints.publish(joint)
        self._show(self._pictures[self._looked % _PICTURES])
        self._looked += 1

    def instruct(self) -> None:
        self._mouth.publish(String(data=INSTRUCTION))

    def destroy_node(self) -> None:
        self.operator.close()
        super().destroy_node()

    def _show(self, data: array[int], name: str = "camera", kind: str = "jpeg") -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=name)
        self._camera.publish(CompressedImage(header=header, format=kind, data=data))

    def _abuses(self) -> dict[str, Callable[[], object]]:
        """By name; pictures come from the camera's own publisher, as from a driver gone mad."""
        whole = self._pictures[0]
        pictures = {
            "PNG of a million empty chunks, 12 MB": png(64, 64, between=1_000_000),
            "PNG of 8192x8192, 16 bits, 0.5 MB": png(8192, 8192, depth=16, rows=8192),
            "JPEG with a million comments, 4 MB": array(
                "B", whole[:2].tobytes() + b"\xff\xfe\0\2" * 1_000_000 + whole[2:].tobytes()
            ),
            "JPEG, progressive, 8000x8000": jpeg(np.zeros((8000, 8000, 3), np.uint8), True),
            "10 MB of 0xFF": array("B", b"\xff\xd8" + b"\xff" * 10_000_000),
            "picture cut in half": whole[: len(whole) // 2],
        }
        shown: dict[str, Callable[[], object]] = {
            name: functools.partial(self._show, data) for name, data in pictures.items()
        }
        names = [f"joint_{number}" for number in range(600_000)]
        crowd = JointState(name=names, position=array("d", bytes(8 * len(names))))
        nowhere = PoseStamped()
        nowhere.header.frame_id = "base_link"
        nowhere.pose.position.x = float("nan")
        return shown | {
            "frame_id of 1 MB": lambda: self._show(whole, "f" * 1_000_000),
            "600,000 names in joint_states": lambda: self._joints.publish(crowd),
            "ee_pose of NaN": lambda: self._hand.publish(nowhere),
            "instruction of 100 kB": lambda: self._mouth.publish(String(data="red " * 25_000)),
            "code as model over the graph": lambda: self._ask("model", "os:system"),
            "10,000 parameters in one request": lambda: self._ask("selector", "dense", 10_000),
            "goal with an instruction of 10 MB": lambda: self._goals.send_goal_async(
                ExecuteInstruction.Goal(instruction="red " * 2_500_000)
            ),
        }

    def _ask(self, name: str, value: str, times: int = 1) -> None:
        told = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
        asked = [Parameter(name=name, value=told)] * times
        self._set.call_async(SetParameters.Request(parameters=asked))

    def _on_status(self, message: InferenceStatus) -> None:
        self.status = message

    def _on_twist(self, message: TwistStamped) -> None:
        moving = bool(np.any(from_twist(message.twist)))
        self.commands.append(Sent(to_ns(message.header.stamp) / 1e9, moving))


def jpeg(picture: Any, progressive: bool = False) -> array[int]:
    """(h, w, 3) uint8 RGB as a file."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])
    return array("B", data.tobytes())


def png(width: int, height: int, depth: int = 8, between: int = 0, rows: int = 1) -> array[int]:
    """A PNG of nothing; between: empty chunks before its pixels. rows: of pixels that it holds."""

    def chunk(name: bytes, content: bytes = b"") -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + crc

    size = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    row = bytes(1 + width * 3 * depth // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    return array("B", PNG_MAGIC + chunk(b"IHDR", size) + chunk(b"teSt") * between
                 + chunk(b"IDAT", pixels) + chunk(b"IEND"))
