# SPDX-License-Identifier: Apache-2.0
"""A policy elsewhere, asked by vla-eval's protocol: the simulator needs no torch of its own."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PolicyGone(RuntimeError):
    """The server refused or left; the message says what it said."""


class PolicyClient:
    """One connection, one episode after the other. url: ws://host:port, with ?token=... where the
    server wants one."""

    def __init__(self, url: str, timeout_s: float = 120.0) -> None:
        import msgpack
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        self._pack, self._unpack = msgpack.packb, msgpack.unpackb
        self._errors = (WebSocketException, OSError, TimeoutError)
        self.step: dict[str, float] = {}  # what the last answer cost, where the server tells
        self._timeout, self._number = timeout_s, 0
        self._open = ExitStack()
        try:
            self._link = self._open.enter_context(
                connect(url, compression=None, max_size=None, ping_interval=None))
        except self._errors as error:
            raise PolicyGone(f"{url.partition('?')[0]}: no policy answers ({error})") from error

    def begin(self, instruction: str) -> None:
        """A new episode."""
        self._send("episode_start", {"task": {"name": instruction}})

    def act(self, picture: NDArray[np.uint8], instruction: str) -> NDArray[np.float64]:
        """The answer (7,) to a picture (h, w, 3), in the benchmark's convention."""
        image = {"__image__": True, "format": "raw", "data": picture.tobytes(), "dtype": "|u1",
                 "shape": list(picture.shape)}
        self._send("observation", {"images": {"agentview": image},
                                   "task_description": instruction})
        try:
            reply = self._unpack(self._link.recv(timeout=self._timeout))
        except self._errors as error:
            raise PolicyGone(f"the policy does not answer ({error})") from error
        if reply["type"] != "action":
            raise PolicyGone(f"the policy refuses: {reply['payload'].get('error')}")
        self.step = reply["payload"].get("step", {})
        values = reply["payload"]["actions"]
        return np.frombuffer(values["data"], values["dtype"]).astype(np.float64)

    def close(self) -> None:
        """Leave."""
        self._open.close()

    def __enter__(self) -> PolicyClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _send(self, kind: str, payload: dict[str, Any]) -> None:
        self._number += 1
        try:
            self._link.send(self._pack({"type": kind, "payload": payload, "seq": self._number,
                                        "timestamp": time.time()}))
        except self._errors as error:
            raise PolicyGone(f"the policy has left ({error})") from error
