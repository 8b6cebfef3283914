# SPDX-License-Identifier: Apache-2.0
"""The launch runner: reading of files, and real processes with real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from test.trees import child_path
from vla_infoentropy_ros.launch_runner.commands import command_line
from vla_infoentropy_ros.launch_runner.description import (
    Description,
    ParameterFile,
    Process,
)
from vla_infoentropy_ros.launch_runner.runner import Runner
from vla_infoentropy_ros.launch_runner.xml_tree import LaunchError
from vla_infoentropy_ros.share import share_directory


@pytest.fixture
def launch_file(tmp_path: Path) -> Callable[[str], Path]:
    """Write a launch file with the given body."""

    def write(body: str, name: str = "test.launch.xml") -> Path:
        path = tmp_path / name
        path.write_text(f"<launch>\n{textwrap.dedent(body)}\n</launch>\n", encoding="utf-8")
        return path

    return write


def read(path: Path, **given: str) -> Description:
    return Description(path, given)


class TestReading:
    def test_node_with_everything(self, launch_file: Callable[[str], Path]) -> None:
        values = launch_file("").parent / "values.yaml"
        values.write_text("/**:\n  ros__parameters:\n    rate: 5.0\n", encoding="utf-8")
        path = launch_file(f"""
            <arg name="robot" default="arm"/>
            <set_env name="COLOR" value="$(var robot) red"/>
            <node pkg="vla_infoentropy_ros" exec="policy_node" name="p" namespace="left"
                  args="--x" ros_args="--enclave /$(var robot)">
              <param name="rate" value="10"/>
              <param from="{values}"/>
              <param name="text" value="1.0" type="str"/>
              <remap from="image" to="/$(var robot)/image"/>
            </node>
            <node pkg="vla_infoentropy_ros" exec="sim_node"/>
        """)
        first, second = read(path).processes
        assert (first.name, first.namespace) == ("p", "/left")
        assert first.arguments == ("--x", "--ros-args", "--enclave", "/arm")
        assert first.remaps == (("image", "/arm/image"),)
        assert first.environment["COLOR"] == "arm red"
        assert first.parameters == (("rate", 10), ParameterFile(str(values)), ("text", "1.0"))
        assert (second.name, second.namespace) == ("sim_node", "")

    @pytest.mark.parametrize(
        ("own", "full"), [("", ""), ("sim", "/sim"), ("sim/", "/sim"), ("/a/b", "/a/b"), ("/", "")]
    )
    def test_namespaces_are_absolute(
        self, launch_file: Callable[[str], Path], own: str, full: str
    ) -> None:
        node = f'<node pkg="vla_infoentropy_ros" exec="sim_node" namespace="{own}"/>'
        assert read(launch_file(node)).processes[0].namespace == full

    def test_a_path_with_a_space_stays_one_argument(
        self, launch_file: Callable[[str], Path]
    ) -> None:
        path = launch_file("""
            <arg name="bag"/>
            <executable cmd="ros2 bag play $(var bag)/x 'a b' --n=$(var bag)"/>
            <node pkg="vla_infoentropy_ros" exec="sim_node" args="$(var bag) y"
                  ros_args="--log-file $(var bag)"/>
        """)
        played, node = read(path, bag="/my bags/one's").processes
        assert played.arguments[3:] == ("/my bags/one's/x", "a b", "--n=/my bags/one's")
        assert node.arguments == (
            "/my bags/one's", "y", "--ros-args", "--log-file", "/my bags/one's",
        )  # fmt: skip

    def test_parameters_keep_order_and_types(self, tmp_path: Path) -> None:
        process = Process(
            where="x:1",
            name="n",
            package="vla_infoentropy_ros",
            executable="policy_node",
            namespace="/a",
            parameters=(("s", "1.0"), ("b", True)),
            remaps=(("x", "y"),),
        )
        command = command_line(process, tmp_path, 0)
        file = command[command.index("--params-file") + 1]
        loaded = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        assert loaded == {"/**": {"ros__parameters": {"s": "1.0", "b": True}}}
        assert command[1:4] == ["-m", "vla_infoentropy_ros.start_node", "policy_node"]
        assert {"__node:=n", "__ns:=/a", "x:=y"} <= set(command)

    def test_arguments_from_command_line(self, launch_file: Callable[[str], Path]) -> None:
        path = launch_file("""
            <arg name="mode" default="slow"><choice value="slow"/><choice value="fast"/></arg>
            <executable cmd="mode $(var mode)"/>
        """)
        assert read(path).processes[0].arguments == ("mode", "slow")
        assert read(path, mode="fast").processes[0].arguments == ("mode", "fast")
        with pytest.raises(LaunchError, match=r"'mode' is 'warp'; choose one of slow, fast"):
            read(path, mode="warp")
        with pytest.raises(LaunchError, match=r"unknown argument 'mood'; did you mean mode\? Arg"):
            read(path, mood="fast")

    def test_an_empty_choice_is_told_in_words(self, launch_file: Callable[[str], Path]) -> None:
        path = launch_file("""
            <arg name="dry_run" default="">
              <choice value=""/><choice value="true"/><choice value="false"/>
            </arg>
        """)
        with pytest.raises(LaunchError, match=r"choose one of true, false, or leave it away\.$"):
            read(path, dry_run="no")

    def test_a_description_over_several_lines_is_one_sentence(
        self, launch_file: Callable[[str], Path]
    ) -> None:
        path = launch_file("""<arg name="key" description="which
                                  one"/>""")
        argument = Description(path, {}, only_arguments=True).arguments["key"]
        assert argument.description == "which one"
        with pytest.raises(LaunchError, match=r"'key' \(which one\) has no default"):
            read(path)

    def test_a_condition_decides_what_is_started(
        self, launch_file: Callable[[str], Path]
    ) -> None:
        path = launch_file("""
            <arg name="record" default="false"/>
            <executable cmd="recorder" if="$(var record)"/>
            <executable cmd="window" unless="$(var record)"/>
            <node pkg="vla_infoentropy_ros" exec="sim_node" if="True"/>
        """)
        assert [process.name for process in read(path).processes] == ["window", "sim_node"]
        names = [process.name for process in read(path, record="1").processes]
        assert names == ["recorder", "sim_node"]
        with pytest.raises(LaunchError, match=r"<executable> has if='perhaps'; use one of true"):
            read(path, record="perhaps")

    def test_required_argument(self, launch_file: Callable[[str], Path]) -> None:
        path = launch_file('<arg name="key" description="which one"/>')
        with pytest.raises(LaunchError, match=r"test.launch.xml:2: <arg> 'key' \(which one\)"):
            read(path)
        assert Description(path, {}, only_arguments=True).arguments["key"].default is None

    def test_the_package_is_found(self, launch_file: Callable[[str], Path]) -> None:
        path = launch_file('<executable cmd="cat $(find-pkg-share vla_infoentropy_ros)/x"/>')
        assert read(path).processes[0].arguments == ("cat", f"{share_directory()}/x")

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ('<timer period="1"/>', r"test.launch.xml:2: <timer> is not supported inside <launch>"),
            ('<node pkg="a" exec="b" color="red"/>', r"<node> has attribute 'color'"),
            ('<node pkg="a"/>', r"<node> needs the attribute 'exec'"),
            ('<executable cmd="$(command ls)"/>', r"uses \$\(command ls\); without ROS 2 only"),
            ('<executable cmd="$(var nothing)"/>', r"no <arg> above it defines 'nothing'"),
            ('<executable cmd="$(find-pkg-share other)"/>', r"find-pkg-share other.*source ROS 2"),
            ('<executable cmd="$(var a"/>', r"not closed"),
            ('<node pkg="a" exec="b" namespace="1a"/>', r"<node> gives the namespace '1a'"),
            ('<node pkg="a" exec="b" namespace="a//b"/>', r"gives the namespace 'a//b'"),
            ('<node pkg="a" exec="b"><param name="n" value="x" type="int"/></node>', "not of"),
            ("<group>", r"not well-formed XML: mismatched tag"),
            ('<node pkg="a" exec="b"><param from="/no.yaml"/></node>', r"'/no.yaml'.*not exist"),
            ('<node pkg="a" exec="b"><param from="/tmp"/></node>', r"'/tmp', which is a folder"),
            ('<node pkg="a" exec="b"><remap from="image" to="/bad topic"/></node>',
             r"<remap> has '/bad topic', which is no topic's name: letters"),
        ],
    )
    def test_errors_name_place_and_remedy(
        self, launch_file: Callable[[str], Path], body: str, message: str
    ) -> None:
        path = launch_file("").with_name("test.launch.xml")
        path.write_text(f"<launch>\n{body}\n</launch>\n", encoding="utf-8")
        with pytest.raises(LaunchError, match=message):
            read(path)

    def test_what_is_no_file_is_refused_without_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo.launch.xml")
        for path in (tmp_path / "fifo.launch.xml", Path("/dev/zero")):
            with pytest.raises(LaunchError, match="name a regular file"):
                read(path)

    def test_files_of_this_package_can_be_read(self, tmp_path: Path) -> None:
        files = sorted((share_directory() / "launch").glob("*.launch.xml"))
        for file in files:
            known = Description(file, {}, only_arguments=True).arguments.values()
            given = {argument.name: "x" for argument in known if argument.default is None}
            started = [
                command_line(process, tmp_path, index)
                for index, process in enumerate(read(file, **given).processes)
                if process.package == "vla_infoentropy_ros"
            ]
            assert started, f"{file.name} starts no node of ours"

    def test_nodes_of_other_packages_are_started_where_they_are_installed(
        self, tmp_path: Path, launch_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = launch_file('<node pkg="other" exec="bridge" name="b" namespace="sim"/>')
        (process,) = read(path).processes
        monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
        with pytest.raises(LaunchError, match=r"no package 'other' with a program 'bridge' in AM"):
            command_line(process, tmp_path, 0)
        program = tmp_path / "lib" / "other" / "bridge"
        program.parent.mkdir(parents=True)
        program.touch(0o755)
        command = command_line(process, tmp_path, 0)
        assert command[0] == str(program)
        assert command[-4:] == ["-r", "__node:=b", "-r", "__ns:=/sim"]


CHILD = """
import os, signal, sys, time
name, behaviour, *others = sys.argv[1:]
if behaviour == "stubborn":
    signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
if behaviour == "polite":
    def stop(number, frame):
        print(f"{name} got {signal.Signals(number).name}", flush=True); sys.exit(0)
    signal.signal(signal.SIGINT, stop); signal.signal(signal.SIGTERM, stop)
if behaviour == "parent":
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("grandchild", child.pid, flush=True)
print(f"{name} ready", flush=True)
open(f"{sys.argv[0]}.{name}", "w").close()
while not all(os.path.exists(f"{sys.argv[0]}.{other}") for other in others):
    time.sleep(0.01)
if behaviour == "fail":
    sys.stderr.write("about to fail\\n"); sys.exit(7)
if behaviour == "finish":
    sys.exit(0)
time.sleep(60)
"""


@pytest.fixture
def child(tmp_path: Path) -> str:
    """Command of a process that behaves as its second argument says."""
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    return f"{sys.executable} {script}"


class Launched:
    """A runner in a process of its own."""

    def __init__(self, path: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vla_infoentropy_ros.launch_runner", str(path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": child_path()},
            start_new_session=True,
        )
        self.lines: list[str] = []

    def wait_for(self, text: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return line.rstrip()
        raise AssertionError(f"{text!r} did not appear in:\n" + "\n".join(self.lines))

    def finish(self, timeout: float = 20.0) -> tuple[int, str]:
        rest, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, "\n".join(self.lines) + "\n" + rest

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def start() -> object:
    """Start runners; none is left behind."""
    launched: list[Launched] = []

    def make(path: Path, *arguments: str) -> Launched:
        launched.append(Launched(path, *arguments))
        return launched[-1]

    yield make
    for item in launched:
        item.kill()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], timeout: float = 15.0) -> bool:
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


class TestRunning:
    @pytest.mark.parametrize(
        ("number", "received"),
        [
            (signal.SIGINT, "SIGINT"),
            (signal.SIGTERM, "SIGTERM"),
        ],
    )
    def test_signal_is_forwarded_once(
        self,
        launch_file: Callable[[str], Path],
        child: str,
        start: Callable[..., Launched],
        number: int,
        received: str,
    ) -> None:
        path = launch_file(f"""
            <executable cmd="{child} one polite" name="one"/>
            <executable cmd="{child} two polite" name="two"/>
        """)
        launched = start(path)
        seen = {launched.wait_for(" ready"), launched.wait_for(" ready")}
        assert seen == {"[one-1] one ready", "[two-2] two ready"}
        launched.process.send_signal(number)
        code, output = launched.finish()
        assert code == 0
        assert output.count(f"one got {received}") == 1
        assert output.count(f"two got {received}") == 1

    def test_failure_stops_everything(
        self, launch_file: Callable[[str], Path], child: str, start: Callable[..., Launched]
    ) -> None:
        path = launch_file(f"""
            <executable cmd="{child} good polite" name="good"/>
            <executable cmd="{child} bad fail good" name="bad"/>
        """)
        code, output = start(path).finish()
        assert code == 1
        assert "[bad-2] about to fail" in output
        assert "[bad-2] process has died: exit code 7" in output
        assert "test.launch.xml:" in output
        assert "good got SIGINT" in output

    def test_one_that_the_others_are_nothing_without_ends_them(
        self, launch_file: Callable[[str], Path], child: str, start: Callable[..., Launched]
    ) -> None:
        path = launch_file(f"""
            <executable cmd="{child} left polite" name="left"/>
            <executable cmd="{child} world finish left" name="world" on_exit="shutdown"/>
        """)
        code, output = start(path).finish()
        assert code == 0 and "left got SIGINT" in output
        with pytest.raises(LaunchError, match="on_exit='respawn'"):
            read(launch_file('<executable cmd="world" on_exit="respawn"/>'))

    def test_stubborn_process_is_killed(
        self, launch_file: Callable[[str], Path], child: str, start: Callable[..., Launched]
    ) -> None:
        path = launch_file(f"""
            <executable cmd="{child} mule stubborn" name="mule"/>
        """)
        launched = start(path)
        launched.wait_for("mule ready")
        launched.process.send_signal(signal.SIGINT)
        code, output = launched.finish()
        assert code == 1
        assert output.index("sending SIGTERM") < output.index("sending SIGKILL")
        assert "was killed" in output

    def test_all_finish_cleanly(
        self, launch_file: Callable[[str], Path], child: str, start: Callable[..., Launched]
    ) -> None:
        code, output = start(launch_file(f'<executable cmd="{child} a finish" name="a"/>')).finish()
        assert code == 0
        assert "finished cleanly" in output

    def test_no_orphans_when_the_runner_is_killed(
        self, launch_file: Callable[[str], Path], child: str, start: Callable[..., Launched]
    ) -> None:
        launched = start(launch_file(f'<executable cmd="{child} p parent" name="p"/>'))
        grandchild = int(launched.wait_for("grandchild").split()[-1])
        node = int(
            next(line for line in launched.lines if "started with pid" in line)
            .split("[")[-1]
            .rstrip("]")
        )
        launched.process.kill()
        assert wait_until(lambda: not alive(node) and not alive(grandchild))

    def test_nodes_are_asked_to_end_though_nobody_reads_the_output(
        self, launch_file: Callable[[str], Path], start: Callable[..., Launched], tmp_path: Path
    ) -> None:
        asked, script = tmp_path / "asked", tmp_path / "node.sh"
        script.write_text(f"trap 'echo yes > {asked}; exit 0' INT\n"
                          "echo up\nwhile :; do sleep 0.05; done\n")
        launched = start(launch_file(f'<executable cmd="sh {script}" name="n"/>'))
        launched.wait_for("] up")
        launched.process.stdout.close()
        launched.process.send_signal(signal.SIGINT)
        assert launched.process.wait(20) == 0
        assert asked.read_text() == "yes\n"

    def test_after_an_error_of_its_own_it_asks_before_it_kills(
        self, launch_file: Callable[[str], Path], child: str, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        path = launch_file(f"""
            <executable cmd="{child} one polite" name="one"/>
            <executable cmd="{child} two finish one" name="two"/>
        """)

        def broken(self: Runner, item: object) -> None:
            raise RuntimeError("a flaw")

        monkeypatch.setattr(Runner, "_ended", broken)
        with pytest.raises(RuntimeError, match="a flaw"):
            Runner(read(path)).run()
        assert wait_until(lambda: "one got SIGINT" in capfd.readouterr().out)

    def test_a_process_that_a_nameless_signal_ended(
        self, launch_file: Callable[[str], Path], start: Callable[..., Launched]
    ) -> None:
        kill = f"{sys.executable} -c 'import os; os.kill(os.getpid(), 40)'"
        code, output = start(launch_file(f'<executable cmd="{kill}" name="n"/>')).finish()
        assert code == 1 and "process has died: signal 40 (" in output

    def test_missing_program(
        self, launch_file: Callable[[str], Path], start: Callable[..., Launched]
    ) -> None:
        code, output = start(launch_file('<executable cmd="/no/such/program"/>')).finish()
        assert code == 1
        assert "cannot start '/no/such/program'" in output

    def test_show_args(
        self, launch_file: Callable[[str], Path], start: Callable[..., Launched]
    ) -> None:
        path = launch_file('<arg name="a" default="1" description="first"/><arg name="b"/>')
        code, output = start(path, "--show-args").finish()
        assert code == 0
        assert "first" in output
        assert "(required)" in output

    @pytest.mark.parametrize("given", ["a", "a:=", ":=1"])
    def test_malformed_argument(
        self, launch_file: Callable[[str], Path], start: Callable[..., Launched], given: str
    ) -> None:
        code, output = start(launch_file('<arg name="a" default="1"/>'), given).finish()
        assert code == 2
        assert f"{given!r} is not of the form name:=value" in output
