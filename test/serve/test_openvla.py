# SPDX-License-Identifier: Apache-2.0
"""The REST server, against requests made here by hand."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import struct
import time
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from test.serve.conftest import Make
from test.serve.test_vla_eval import alone, ask, observation, picture
from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.foreign.budgets import limit
from vla_infoentropy_ros.plugins import PluginError

pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from vla_infoentropy_ros.serve import openvla
from vla_infoentropy_ros.serve.openvla import SPARE_BODIES


def request(seed: int, **more: Any) -> dict[str, Any]:
    image = picture(seed)
    array = {"__numpy__": base64.b64encode(image.tobytes()).decode(), "dtype": "|u1",
             "shape": list(image.shape)}
    return {"image": array, "instruction": "open the box"} | more


def post(port: int, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def values(array: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["__numpy__"]), array["dtype"]).reshape(
        array["shape"])


def test_requests_that_name_an_episode_share_its_cache(make: Make, policy: TinyPolicy) -> None:
    port, session = make("openvla").port, alone(policy)
    for step in range(4):
        for name, seed in (("a", step), ("b", 50)):
            status, reply = post(port, f"/act?session={name}", request(seed))
            assert status == 200
            if name == "a":
                assert np.array_equal(values(reply),
                                      session.step([picture(seed)]).action.values)


def test_requests_without_a_name_share_nothing(make: Make, policy: TinyPolicy) -> None:
    port = make("openvla").port
    for seed in range(3):
        _, reply = post(port, "/act", request(seed))
        assert np.array_equal(values(reply), alone(policy).step([picture(seed)]).action.values)


def test_a_reset_forgets(make: Make, policy: TinyPolicy) -> None:
    port = make("openvla").port
    post(port, "/act?session=a", request(1))
    assert post(port, "/reset?session=a", {}) == (200, {"status": "ok"})
    _, reply = post(port, "/act?session=a", request(2))
    assert np.array_equal(values(reply), alone(policy).step([picture(2)]).action.values)


def test_a_request_as_a_text_is_answered_by_a_text(make: Make) -> None:
    status, reply = post(make("openvla").port, "/act", {"encoded": json.dumps(request(1))})
    assert status == 200 and values(json.loads(reply)).shape == (7,)


def test_the_name_longest_unused_makes_room(make: Make, service: Any) -> None:
    port = make("openvla").port
    for name in "abcd":  # three are allowed
        assert post(port, f"/act?session={name}", request(1))[0] == 200
    assert service.metrics.clients.collect()[0].samples[0].value == 3
    assert post(port, "/act", request(1))[0] == 200


@pytest.mark.parametrize(("path", "body", "status", "says"), [
    ("/act", b"{", 400, "no JSON"),
    ("/act", b"[" * 100_000, 400, "no JSON"),
    ("/act", [], 400, "no JSON object"),
    ("/act", {"instruction": "open the box"}, 400, "image is no array"),
    ("/act", request(1) | {"image": {"__numpy__": "?", "dtype": "|u1", "shape": [1, 1, 3]}}, 400,
     "no base64"),
    ("/act", request(1, instruction=" "), 400, "say what to do"),
    ("/act", request(1, unnorm_key="bridge_orig"), 400, "un-normalises by 'none'"),
    ("/act?session=" + "x" * 65, request(1), 400, "at most 64"),
    ("/act?session=caf%E9", request(1), 400, "not UTF-8"),
    ("/act?session=a&session=b", request(1), 400, "session is given 2 times"),
    ("/reset", {}, 400, "name the episode"),
    ("/elsewhere", {}, 404, "POST knows"),
])
def test_what_is_wrong_gets_a_sentence(
    make: Make, path: str, body: Any, status: int, says: str
) -> None:
    port = make("openvla").port
    code, reply = post(port, path, body)
    assert code == status and says in reply["error"] and "\n" not in reply["error"]
    assert post(port, "/act", request(1))[0] == 200


@pytest.mark.parametrize("length", [str(limit("request_bytes") + 1), "9" * 5000, "-1", "x", ""])
def test_a_body_above_the_budget_is_refused_before_it_is_read(make: Make, length: str) -> None:
    port = make("openvla").port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(f"POST /act HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
        with link.makefile("rb") as reply:
            told = reply.read().decode()  # to the end: the connection is closed
    assert told.startswith("HTTP/1.1 400 ") and "say how many bytes come, at most" in told
    assert post(port, "/act", request(1))[0] == 200


@pytest.mark.parametrize("kind", ["openvla", "vla-eval"])
def test_a_policy_of_others_that_fails_is_told_and_logged_with_where(
    make: Make, service: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    sentence = "model='mine': a step raised RuntimeError: out (mine.py, line 3)"

    def fails(*_: object, **__: object) -> None:
        raise PluginError(sentence)

    monkeypatch.setattr(service, "_step", fails)
    port = make(kind).port
    if kind == "openvla":
        assert post(port, "/act", request(1)) == (500, {"error": sentence})
    else:
        with connect(f"ws://127.0.0.1:{port}") as link:
            assert ask(link, "observation", observation(1))["payload"] == {"error": sentence}
    assert any(record.exc_info for record in caplog.records if record.levelname == "ERROR")


@pytest.mark.parametrize("kind", ["openvla", "vla-eval"])
def test_a_selector_of_others_that_cannot_be_made_takes_no_clients_place(
    make: Make, service: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sentence = "selector 'mine': making it raised RuntimeError: out (mine.py, line 3)"

    def fails() -> None:
        raise PluginError(sentence)

    from msgpack import unpackb

    port = make(kind).port
    with monkeypatch.context() as broken:
        broken.setattr(service, "_make_session", fails)
        for _ in range(4):  # three are allowed
            if kind == "openvla":
                assert post(port, "/act", request(1)) == (500, {"error": sentence})
            else:
                with connect(f"ws://127.0.0.1:{port}") as link:
                    assert unpackb(link.recv(timeout=20))["payload"] == {"error": sentence}
    service.open().close()


def test_the_token_is_asked_for_before_anything_is_read(make: Make) -> None:
    port = make("openvla", token="a token of some length").port
    assert post(port, "/act", request(1))[0] == 403
    assert post(port, "/act", request(1), Authorization="Bearer a token of some length")[0] == 200
    assert post(port, "/act", request(1), Authorization="Bearer a token of some length",
                Origin="https://example.org")[0] == 403


def test_a_client_that_has_gone_is_no_error_of_ours(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    port = make("openvla").port
    for sent in (b"POST /act HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", b"GET /health HT"):
        link = socket.create_connection(("127.0.0.1", port))
        link.sendall(sent)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()  # by a reset
        assert post(port, "/act", request(1))[0] == 200
    assert "Traceback" not in capsys.readouterr().err


def test_a_refusal_reaches_whoever_sends_a_large_picture(make: Make) -> None:
    """The rest of the body is let in before the connection is closed."""
    port = make("openvla", token="a token of some length").port
    large = request(1) | {"more": "x" * 12_000_000}
    for path in ("/act", "/elsewhere"):
        status, reply = post(port, path, large)
        assert status == 403 and "token is missing" in reply["error"]
    own = {"Authorization": "Bearer a token of some length"}
    assert post(port, "/elsewhere", large, **own)[0] == 404


def test_bodies_beyond_the_room_for_them_are_refused(make: Make, service: Any) -> None:
    port, links = make("openvla").port, []
    try:
        for _ in range(service.most_clients + SPARE_BODIES):
            links.append(socket.create_connection(("127.0.0.1", port)))
            links[-1].sendall(b"POST /act HTTP/1.1\r\nContent-Length: 99\r\n\r\n{")
        end = time.monotonic() + 20
        while (told := post(port, "/act", request(1)))[0] == 200:
            assert time.monotonic() < end
        assert told[0] == 503 and "start the server with a larger --clients" in told[1]["error"]
    finally:
        for link in links:
            link.close()
    end = time.monotonic() + 20
    while post(port, "/act", request(1))[0] != 200:
        assert time.monotonic() < end


def test_a_body_that_does_not_end_is_left(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvla, "BODY_S", 0.3)
    with socket.create_connection(("127.0.0.1", make("openvla").port), timeout=20) as link:
        link.sendall(b"POST /act HTTP/1.1\r\nContent-Length: 99\r\n\r\n")
        for _ in range(5):
            link.sendall(b"{")
            time.sleep(0.15)
        told = link.makefile("rb").read()
    assert told.startswith(b"HTTP/1.1 400 ") and b"of 99 that were announced" in told


def test_answers_on_one_connection_do_not_wait_for_each_other(make: Make) -> None:
    link = http.client.HTTPConnection("127.0.0.1", make("openvla").port, timeout=20)
    times = []
    for _ in range(30):
        asked = time.perf_counter()
        link.request("POST", "/reset?session=a", b"{}")
        link.getresponse().read()
        times.append(time.perf_counter() - asked)
    link.close()
    assert min(times[10:]) < 0.02, "a header waits 40 ms for its acknowledgement"


def test_a_request_of_nobody_runs_the_vision_tower_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, passes = make("openvla").port, []
    embed = TinyPolicy.embed_vision
    monkeypatch.setattr(TinyPolicy, "embed_vision",
                        lambda self, pixels: (passes.append(1), embed(self, pixels))[1])
    post(port, "/act", request(1))  # the first counts what it costs
    passes.clear()
    for seed in range(3):
        post(port, "/act", request(seed))
    assert len(passes) == 3


def test_pictures_that_would_be_taken_for_others_are_refused(
    make: Make, policy: TinyPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "views", 2)
    monkeypatch.setattr(policy, "camera_names", ("wrist", "front"), raising=False)
    port, array = make("openvla").port, request(1)["image"]
    status, reply = post(port, "/act", request(1, wrist_image=array))
    assert status == 400 and "trained with wrist, front; send them under these" in reply["error"]
    own = {"wrist": array, "front": array, "instruction": "open the box"}
    assert post(port, "/act", own)[0] == 200


@pytest.mark.parametrize("kind", ["openvla", "vla-eval"])
def test_an_address_that_is_none_gets_a_sentence(
    make: Make, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = make(kind, token="a token of some length").port
    for method in ("GET", "POST") if kind == "openvla" else ("GET",):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
            link.sendall(f"{method} http://[/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
                         "Connection: close\r\n\r\n".encode())
            told = link.makefile("rb").read()
        assert told.startswith(b"HTTP/1.1 400 ") and b"is no address of a page" in told
    assert "Traceback" not in capsys.readouterr().err
