# SPDX-License-Identifier: Apache-2.0
"""What ``record:=true`` of a launch file starts: ``ros2 bag record`` of what a policy sees, hears
and decides.

Names are made full by the namespace, as those of the nodes are. How it listens must not be left to
who starts first: what was said before the recorder came, such as the instruction, is asked for
again, and a camera is taken from any publisher.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence

_CAMERA = {"history": "keep_last", "depth": 30, "reliability": "best_effort",
           "durability": "volatile"}  # fmt: skip
_LATCHED = {"history": "keep_last", "depth": 10, "reliability": "reliable",
            "durability": "transient_local"}  # fmt: skip
_FIXED = _LATCHED | {"depth": 100}  # one message from each publisher of TF
LATCHED = ("instruction", "robot_description", "policy_node/status")
"""Those whose last word was said for whoever comes later."""


def full(name: str, namespace: str) -> str:
    """A topic's full name."""
    place = namespace.strip("/")
    return name if name.startswith("/") else f"/{place}/{name}" if place else f"/{name}"


def profiles(images: Sequence[str], namespace: str) -> dict[str, dict[str, object]]:
    """How to listen, by full name, as ``--qos-profile-overrides-path`` takes it."""
    return {full(name, namespace): _LATCHED for name in LATCHED} | {"/tf_static": _FIXED} | {
        full(each, namespace): _CAMERA for each in _cameras(images)
    }


def _cameras(images: Sequence[str]) -> list[str]:
    return [name for image in images for name in (image, f"{image}/compressed")]


def main(argv: Sequence[str]) -> int:
    """Become the recorder; 1 with a sentence where there is none."""
    parser = argparse.ArgumentParser(prog="python -m vla_infoentropy_ros.record",
                                     description=__doc__)
    parser.add_argument("--namespace", default="")
    parser.add_argument("--to", required=True, help="folder of the bag")
    parser.add_argument("--images", nargs="+", default=[], help="topics of cameras")
    parser.add_argument("--topics", nargs="+", default=[], help="others")
    options = parser.parse_args(argv)
    ros2 = shutil.which("ros2")
    if ros2 is None:
        print("error: record:=true needs `ros2 bag record`, which is not there: source a ROS 2 "
              "with ros2bag and rosbag2_storage_mcap, or leave it at false", file=sys.stderr)
        return 1
    listening = os.memfd_create("qos", 0)  # a file that is gone with the recorder
    os.write(listening, json.dumps(profiles(options.images, options.namespace)).encode())
    topics = [full(name, options.namespace)
              for name in (*_cameras(options.images), *options.topics)]
    command = [ros2, "bag", "record", "--storage", "mcap", "--output", options.to,
               "--qos-profile-overrides-path", f"/proc/self/fd/{listening}", "--topics", *topics]
    os.execv(ros2, command)  # noqa: S606 - no shell; the recorder takes the place of this process


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
