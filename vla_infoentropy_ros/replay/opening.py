# SPDX-License-Identifier: Apache-2.0
"""Which kind of recording a path holds."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_infoentropy_ros.replay.bag_recording import BagRecording
from vla_infoentropy_ros.replay.errors import BagError
from vla_infoentropy_ros.replay.picture_folder import PictureFolder, recorded_in
from vla_infoentropy_ros.replay.recording import EE_POSE, JOINT_STATES, TF, TF_STATIC, Recording

EPISODE, RATE_HZ = 0, 5.0
"""What ``--episode`` and ``--rate`` are where they are None, which is: not given."""


def open_recording(options: argparse.Namespace, pose_source: str = EE_POSE) -> Recording:
    """What ``options.recording`` names, with the options of its kind. pose_source: the node's
    command.pose_source, by which a bag's pose of the end effector is on ee_pose or in TF."""
    path: Path = options.recording
    if (path / "meta" / "info.json").is_file():
        from vla_infoentropy_ros.replay.lerobot import LeRobotEpisode

        _refuse_rate(options, "a LeRobot dataset has its own")
        if options.instruction_topic:
            raise BagError("--instruction-topic: a LeRobot dataset has tasks, no topics")
        if options.state_source == EE_POSE:
            raise BagError("--state-source ee_pose: a LeRobot dataset holds its state as numbers "
                           "by name; give joint_states, and --state-joints in their order")
        return LeRobotEpisode(
            path, EPISODE if options.episode is None else options.episode, options.image_topic,
            bool(options.state_source)
        )
    if options.episode is not None:
        raise BagError(f"--episode {options.episode}: {path} is no LeRobot dataset, which alone "
                       "has episodes by number; leave it out, and choose by --start and --end")
    if path.is_dir() and recorded_in(path):
        if options.instruction_topic or options.image_topic:
            raise BagError("--image-topic and --instruction-topic: a folder of pictures has no "
                           "topics; give its --instruction")
        if options.state_source:
            raise BagError("--state-source: a folder of pictures holds no robot state")
        return PictureFolder(path, RATE_HZ if options.rate is None else options.rate)
    _refuse_rate(options, "a bag has its own times")
    states = [options.state_source] * bool(options.state_source)
    if options.state_source == EE_POSE:
        states = [TF, TF_STATIC] if pose_source == TF else [EE_POSE]
        states += [JOINT_STATES] * bool(options.state_joints)
    return BagRecording(path, options.image_topic, options.instruction_topic, states)


def _refuse_rate(options: argparse.Namespace, why: str) -> None:
    if options.rate is not None:
        raise BagError(f"--rate {options.rate:g}: {options.recording} is no folder of pictures, "
                       f"and {why}; leave it out")
