# SPDX-License-Identifier: Apache-2.0
"""/diagnostics over the middleware: levels, sentences, figures, and what to do."""

import re

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Image
from vla_infoentropy_ros.msg import InferenceStatus

from test.nodes.harness import WORDS, driven, until
from test.nodes.policies import SCRIPT
from vla_infoentropy_ros.nodes.middleware import PROFILES, lost_frames_remedy, rmw_name

pytestmark = pytest.mark.usefixtures("ros")


def test_diagnostics_name_camera_policy_and_commands():
    with driven() as (robot, _, _):
        arrays = []
        robot.create_subscription(DiagnosticArray, "/diagnostics", arrays.append, 10)
        robot.drive()

        def newest() -> dict:
            return {each.name: each for each in arrays[-1].status} if arrays else {}

        until(lambda: "policy_node: policy" in newest(), "no diagnostics")
        assert set(newest()) == {
            f"policy_node: {part}" for part in ("camera", "policy", "commands")
        }
        assert newest()["policy_node: policy"].level == DiagnosticStatus.OK

        def age_s() -> float:
            told = newest()["policy_node: camera"].values
            return next(float(each.value) for each in told if each.key == "image_age_s")

        until(lambda: 0.0 <= age_s() < 600.0, "no age", age_s)
        robot.camera.publish(Image(encoding="nonsense"))
        until(lambda: newest()["policy_node: camera"].level == DiagnosticStatus.ERROR, "not told")
        SCRIPT.values = (float("nan"),) * 7
        robot.look()
        until(lambda: "invalid_action" in newest()["policy_node: commands"].message, "not told")


def test_a_policy_slower_than_its_control_period_is_told():
    with driven(control_period_s=0.01) as (robot, _, _):
        nothing = DiagnosticStatus()

        def commands():
            return robot.diagnostics.get("policy_node: commands", nothing)

        robot.drive()
        with robot.streaming(robot.look):
            late = "ms apart, later than the 10 ms"
            until(lambda: late in commands().message, "not told", commands)
            assert commands().level == DiagnosticStatus.WARN


def test_a_camera_that_shows_nothing_new_is_not_called_healthy():
    with driven() as (robot, node, _):
        robot.say(WORDS)
        until(lambda: robot.status.instruction == WORDS, "not instructed")
        stamp_ns = robot.look()
        until(lambda: robot.status.state == InferenceStatus.RUNNING, "does not run")
        assert robot.set(node, command__camera_timeout_s=0.1).successful
        assert robot.set(node, command__deadline_s=0.1).successful
        nothing = DiagnosticStatus()

        def camera():
            return robot.diagnostics.get("policy_node: camera", nothing)

        with robot.streaming(lambda: robot.look(stamp_ns)):
            until(lambda: "none that is new" in camera().message, "called healthy", camera)
            assert camera().level == DiagnosticStatus.STALE
            until(lambda: robot.status.state == InferenceStatus.WAITING, "still runs")


def test_frames_that_did_not_arrive_are_told_with_the_remedy():
    with driven() as (robot, node, _):
        now_ns = robot.now_ns()
        for index in (*range(-40, -20), *range(-17, 0)):  # three are missing
            count = node.driver.intake.counters.frames_received
            robot.look(now_ns + index * 33_333_333)
            until(lambda count=count: node.driver.intake.counters.frames_received > count, "lost")

        def camera() -> DiagnosticStatus:
            return robot.diagnostics.get("policy_node: camera", DiagnosticStatus())

        until(lambda: "did not arrive" in camera().message, "not told", camera)
        assert camera().level == DiagnosticStatus.WARN
        remedy = lost_frames_remedy(rmw_name())
        assert camera().message.startswith(f"frames did not arrive, 3 of image: {remedy}; ")
        until(lambda: "did not arrive" not in camera().message, "told twice", camera)
        assert {each.key: each.value for each in camera().values}["image_lost"] == "3"


@pytest.mark.parametrize(
    ("rmw", "environment", "remedy"),
    [
        ("rmw_fastrtps_cpp", {}, f"both ends, .*{PROFILES}=/.*/config/fastdds.xml"),
        ("rmw_fastrtps_cpp", {PROFILES: "/x.xml"}, f"camera driver too with {PROFILES}=/x.xml"),
        ("rmw_cyclonedds_cpp", {}, "rmem_max.*CYCLONEDDS_URI.*SocketReceiveBufferSize"),
        ("rmw_zenoh_cpp", {}, "rmw_zenoh_cpp larger receive buffers.*image_transport"),
    ],
)
def test_the_remedy_is_that_of_the_middleware(rmw, environment, remedy):
    assert re.search(remedy, lost_frames_remedy(rmw, environment))
