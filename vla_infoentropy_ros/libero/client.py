# SPDX-License-Identifier: Apache-2.0
"""A policy elsewhere, asked by vla-eval's protocol: the simulator needs no torch of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "vla_infoentropy_ros"


class PolicyGone(RuntimeError):
    """The server refused or left; the message says what it said."""


class PolicyClient:
    """One connection, one episode after the other. url: ws://host:port, with ?token=... where the
    server wants one.

    cameras: the pictures that the policy looks at, as the protocol calls them; wants_state: whether
    it takes the robot's state. Raises PolicyGone.
    """

    def __init__(self, url: str, timeout_s: float = 120.0) -> None:
        import msgpack
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        self._pack, self._unpack = msgpack.packb, msgpack.unpackb
        self._errors = (WebSocketException, OSError, TimeoutError)
        self.step: dict[str, float] = {}  # what the last answer cost, where the server tells
        self._timeout, self._number = timeout_s, 0
        with ExitStack() as opening:
            try:
                self._link = opening.enter_context(
                    connect(url, compression=None, max_size=None, ping_interval=None))
            except self._errors as error:
                address, _, secret = url.partition("?")
                told = str(error).replace(f"?{secret}", "") if secret else str(error)
                raise PolicyGone(f"{address}: no policy answers ({told})") from error
            wanted = self._asked("hello", {"harness_version": NAME, "protocol_version": 1,
                                           "capabilities": {}}).get("observation_params", {})
            self._open = opening.pop_all()
        self.cameras = ("agentview", "wrist") if wanted.get("send_wrist_image") else ("agentview",)
        self.wants_state = bool(wanted.get("send_state"))

    def begin(self, instruction: str) -> None:
        """A new episode."""
        self._send("episode_start", {"task": {"name": instruction}})

    def act(self, pictures: Mapping[str, NDArray[np.uint8]], instruction: str,
            state: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """The answer (7,) to ``pictures`` (h, w, 3) of the `cameras`, in the benchmark's
        convention. state: the robot's (8,), where it `wants_state`. Raises PolicyGone."""
        seen: dict[str, Any] = {
            "images": {name: _message("__image__", picture, format="raw")
                       for name, picture in pictures.items()},
            "task_description": instruction,
        }
        if state is not None:
            seen["states"] = _message("__ndarray__", state)
        reply = self._asked("observation", seen)
        self.step = reply.get("step", {})
        values = reply["actions"]
        return np.frombuffer(values["data"], values["dtype"]).astype(np.float64)

    def close(self) -> None:
        """Leave."""
        self._open.close()

    def __enter__(self) -> PolicyClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _asked(self, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The payload of the answer."""
        self._send(kind, payload)
        try:
            reply = self._unpack(self._link.recv(timeout=self._timeout))
        except self._errors as error:
            raise PolicyGone(f"the policy does not answer ({error})") from error
        if reply["type"] == "error":
            raise PolicyGone(f"the policy refuses: {reply['payload'].get('error')}")
        answer: dict[str, Any] = reply["payload"]
        return answer

    def _send(self, kind: str, payload: dict[str, Any]) -> None:
        self._number += 1
        try:
            self._link.send(self._pack({"type": kind, "payload": payload, "seq": self._number,
                                        "timestamp": time.time()}))
        except self._errors as error:
            raise PolicyGone(f"the policy has left ({error})") from error


def _message(mark: str, values: NDArray[Any], **more: str) -> dict[str, Any]:
    """As vla-eval writes an array."""
    return {mark: True, "data": values.tobytes(), "dtype": values.dtype.str,
            "shape": list(values.shape), **more}
