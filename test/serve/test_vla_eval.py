# SPDX-License-Identifier: Apache-2.0
"""The WebSocket server, against messages made here by hand."""

from __future__ import annotations

import threading
import time
import urllib.request
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from test.serve.conftest import Make
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.foreign.budgets import limit
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.session import Session
from vla_infoentropy_ros.variants import Variant

msgpack = pytest.importorskip("msgpack", reason="the extra 'serve' is not installed")
Link = ClientConnection


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def raw(image: np.ndarray) -> dict[str, Any]:
    return {"__image__": True, "format": "raw", "data": image.tobytes(), "dtype": "|u1",
            "shape": list(image.shape)}


def send(link: Link, kind: str, payload: dict[str, Any], seq: int = 1) -> None:
    link.send(msgpack.packb({"type": kind, "payload": payload, "seq": seq, "timestamp": 0.0}))


def ask(link: Link, kind: str, payload: dict[str, Any], seq: int = 1) -> dict[str, Any]:
    send(link, kind, payload, seq)
    return dict(msgpack.unpackb(link.recv(timeout=20)))


def observation(seed: int, text: str = "open the box") -> dict[str, Any]:
    return {"images": {"agentview": raw(picture(seed))}, "task_description": text}


def act(link: Link, seed: int, text: str = "open the box") -> np.ndarray:
    reply = ask(link, "observation", observation(seed, text), seq=seed)
    assert (reply["type"], reply["seq"]) == ("action", seed), reply
    values = reply["payload"]["actions"]
    return np.frombuffer(values["data"], values["dtype"]).reshape(values["shape"])


def alone(policy: TinyPolicy) -> Session:
    session = Variant.parse("attention_drift").session(policy)
    session.set_instruction("open the box")
    return session


def test_a_client_gets_the_actions_of_a_session_of_its_own(make: Make, policy: TinyPolicy) -> None:
    url = f"ws://127.0.0.1:{make('vla-eval').port}"
    with connect(url) as first, connect(url) as second:
        sessions = alone(policy), alone(policy)
        for step in range(1, 5):  # in turn: a shared cache would show in the second step
            for link, session, seed in zip((first, second), sessions, (step, 50 + step),
                                           strict=True):
                expected = session.step([picture(seed)]).action.values
                assert np.array_equal(act(link, seed), expected)


def test_an_episode_start_forgets_the_last_one(make: Make, policy: TinyPolicy) -> None:
    with connect(f"ws://127.0.0.1:{make('vla-eval').port}") as link:
        act(link, 1)
        send(link, "episode_end", {})
        send(link, "episode_start", {"task": {"name": "open the box"}})
        assert np.array_equal(act(link, 9), alone(policy).step([picture(9)]).action.values)


def test_hello_says_what_is_needed_and_given(make: Make) -> None:
    with connect(f"ws://127.0.0.1:{make('vla-eval').port}") as link:
        hello = ask(link, "hello", {"harness_version": "0", "protocol_version": 1}, seq=7)
    assert (hello["type"], hello["seq"]) == ("hello", 7)
    assert hello["payload"]["protocol_version"] == 1
    assert hello["payload"]["action_spec"]["rotation"]["format"] == "euler_xyz"
    assert hello["payload"]["policy"] == {"name": "tiny", "revision": "random"}


@pytest.mark.parametrize(("views", "state", "asked"), [
    (1, None, set()), (2, None, {"send_wrist_image"}),
    (1, "state", {"send_state", "quat_no_antipodal"}),
    (2, "state", {"send_wrist_image", "send_state", "quat_no_antipodal"}),
])
def test_hello_asks_the_harness_for_what_the_policy_looks_at(
    make: Make, policy: TinyPolicy, monkeypatch: pytest.MonkeyPatch, views: int,
    state: str | None, asked: set[str],
) -> None:
    """A harness sends neither by itself, and such a policy refuses to act without."""
    monkeypatch.setattr(policy, "views", views)
    monkeypatch.setattr(policy, "proprioception", state)
    with connect(f"ws://127.0.0.1:{make('vla-eval').port}") as link:
        hello = ask(link, "hello", {"harness_version": "0", "protocol_version": 1})["payload"]
    assert hello["observation_params"] == dict.fromkeys(asked, True)
    # As the benchmark names them: another name is a warning of the harness.
    pictures = ["agentview", "wrist"][:views]
    assert list(hello["observation_spec"]) == [*pictures, "language"]


@pytest.mark.parametrize(("kind", "payload", "says"), [
    ("observation", {}, "holds no images"),
    ("observation", {"images": {b"agentview": raw(picture(1))}}, "holds no images"),
    ("observation", {"images": {"agentview": 3}}, "is no array"),
    ("observation", {"images": {"agentview": {"what": 1}}}, "write no array"),
    ("observation", {"images": {"agentview": raw(picture(1)) | {"shape": [16, 16, 4]}}}, "RGB"),
    ("observation", {"images": {"agentview": raw(picture(1)) | {"shape": [99, 16, 3]}}}, "bytes"),
    ("observation", observation(1) | {"images": {"agentview": {
        "__image__": True, "format": "png", "data": b"x", "shape": [1, 1, 3]}}},
     "neither jpeg nor png"),
    ("observation", observation(1) | {"task_description": ""}, "say what to do"),
    ("observation", observation(1) | {"task_description": 3}, "say what to do"),
    ("dance", {}, "'dance' is not known"),
])
def test_a_message_that_is_wrong_gets_a_sentence_and_harms_nobody(
    make: Make, policy: TinyPolicy, kind: str, payload: dict[str, Any], says: str
) -> None:
    url = f"ws://127.0.0.1:{make('vla-eval').port}"
    with connect(url) as bad, connect(url) as good:
        session = alone(policy)
        assert np.array_equal(act(good, 1), session.step([picture(1)]).action.values)
        reply = ask(bad, kind, payload, seq=5)
        assert (reply["type"], reply["seq"]) == ("error", 5)
        assert says in reply["payload"]["error"] and "\n" not in reply["payload"]["error"]
        assert act(bad, 3).shape == (7,)
        assert np.array_equal(act(good, 2), session.step([picture(2)]).action.values)


@pytest.mark.parametrize(("cameras", "sent", "taken"), [
    ((), ["wrist", "agentview"], ["agentview", "wrist"]),
    (("observation.images.wrist", "observation.images.front"), ["front", "depth", "wrist"],
     ["wrist", "front"]),
    (("observation.images.image", "observation.images.image2"), ["wrist", "agentview"],
     ["agentview", "wrist"]),
])
def test_pictures_come_in_the_order_of_training(
    cameras: tuple[str, ...], sent: list[str], taken: list[str]
) -> None:
    assert shown_to(cameras, sent) == taken


@pytest.mark.parametrize(("cameras", "sent"), [
    (("observation.images.wrist_cam", "observation.images.top"), ["agentview", "wrist"]),
    (("observation.images.top", "observation.images.wrist_cam"), ["agentview", "side"]),
])
def test_pictures_that_would_be_taken_for_others_are_refused(
    cameras: tuple[str, ...], sent: list[str]
) -> None:
    with pytest.raises(UserError, match=r"trained with \w+, \w+; send them under these names"):
        shown_to(cameras, sent)


def shown_to(cameras: tuple[str, ...], sent: list[str]) -> list[str]:
    """Of a policy of two views."""
    pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")
    from vla_infoentropy_ros.serve import cameras as chosen

    policy: Any = SimpleNamespace(views=2, camera_names=cameras)
    return chosen.shown_to(policy, sent)


@pytest.mark.parametrize("data", [
    "text", b"\xc1", b"\x91" * 5000, msgpack.packb([1]), msgpack.packb({"type": "hello"}),
    msgpack.packb({"type": "hello", "payload": 1, "seq": 1, "timestamp": 0}),
    msgpack.packb({"type": "hello", "payload": {}, "seq": "1", "timestamp": 0}),
])
def test_what_is_no_message_gets_a_sentence(make: Make, data: str | bytes) -> None:
    with connect(f"ws://127.0.0.1:{make('vla-eval').port}") as link:
        link.send(data)
        assert msgpack.unpackb(link.recv(timeout=20))["type"] == "error"
        assert act(link, 1).shape == (7,)


def test_a_message_above_the_budget_ends_its_connection_alone(make: Make) -> None:
    url = f"ws://127.0.0.1:{make('vla-eval').port}"
    with connect(url) as good:
        act(good, 1)
        with connect(url) as bad, pytest.raises(ConnectionClosed):
            bad.send(b"\0" * (limit("request_bytes") + 1))
            bad.recv(timeout=20)
        assert act(good, 2).shape == (7,)


def test_one_client_too_many_is_told_so(make: Make, service: Any) -> None:
    url = f"ws://127.0.0.1:{make('vla-eval').port}"
    with connect(url) as first, connect(url), connect(url):
        act(first, 1)
        with connect(url) as fourth:
            error = msgpack.unpackb(fourth.recv(timeout=20))["payload"]["error"]
    assert "larger --clients" in error


def test_a_server_that_ends_does_not_wait_for_its_clients(make: Make) -> None:
    server, before = make("vla-eval"), threading.active_count()
    with connect(f"ws://127.0.0.1:{server.port}") as link:
        act(link, 1)
        server.close()
        with pytest.raises(ConnectionClosed):
            link.recv(timeout=20)
    give_up_s = time.monotonic() + 20.0
    while threading.active_count() > before and time.monotonic() < give_up_s:
        time.sleep(0.02)
    assert threading.active_count() <= before, "a thread keeps the process alive"


def test_beyond_this_machine_only_with_the_token(make: Make) -> None:
    token = "a token of some length"
    url = f"ws://127.0.0.1:{make('vla-eval', token=token).port}"
    twice = [("Authorization", f"Bearer {token}")] * 2
    for bad in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": token}, twice):
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, additional_headers=bad)
    with connect(url, additional_headers={"Authorization": f"Bearer {token}"}) as link:
        assert act(link, 1).shape == (7,)
    with connect(f"{url}/?token={token.replace(' ', '%20')}") as link:
        assert act(link, 1).shape == (7,)


def test_what_waits_to_be_served_is_bounded(make: Make, policy: TinyPolicy,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not wait for answers waits to be rid of its messages."""
    begun, going_on = threading.Event(), threading.Event()
    preprocess = TinyPolicy.preprocess

    def held(self: TinyPolicy, images: Any) -> Any:
        begun.set()
        assert going_on.wait(20)
        return preprocess(self, images)

    with connect(f"ws://127.0.0.1:{make('vla-eval').port}", compression=None) as link:
        act(link, 1)
        monkeypatch.setattr(TinyPolicy, "preprocess", held)
        send(link, "observation", observation(2))
        assert begun.wait(20)
        large = {"images": {"agentview": raw(np.zeros((1600, 1600, 3), np.uint8))},
                 "task_description": "open the box"}
        sent: list[int] = []

        def flood() -> None:
            for number in range(8):
                send(link, "observation", large, number)
                sent.append(number)

        sending = threading.Thread(target=flood)
        sending.start()
        sending.join(1.0)
        waiting = len(sent)
        going_on.set()
        for _ in range(9):
            link.recv(timeout=20)
        sending.join(20)
        assert waiting < 4 and len(sent) == 8


def test_a_web_page_is_not_answered(make: Make) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{make('vla-eval').port}", origin="https://example.org")


@pytest.mark.parametrize("kind", ["vla-eval", "openvla"])
def test_health_and_metrics(make: Make, service: Any, kind: str) -> None:
    url = f"http://127.0.0.1:{make(kind).port}"
    with closing(urllib.request.urlopen(f"{url}/health", timeout=20)) as reply:
        assert reply.read() == b'{"status": "ok"}'
    if kind == "openvla":
        from test.serve.test_openvla import post, request

        for name in ("a", "a", "b"):
            post(int(url.rpartition(":")[2]), f"/act?session={name}", request(1))
    else:
        with connect(url.replace("http", "ws")) as link:
            for words in ("open the box", "open the box", "close it"):
                act(link, 1, words)
        time.sleep(0.2)  # its end is seen
    with closing(urllib.request.urlopen(f"{url}/metrics", timeout=20)) as reply:
        text = reply.read().decode()
    assert "vla_infoentropy_episodes_total 2.0" in text
    assert f"vla_infoentropy_clients {2.0 if kind == 'openvla' else 0.0}" in text
