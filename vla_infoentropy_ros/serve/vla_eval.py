# SPDX-License-Identifier: Apache-2.0
"""The model server's side of vla-eval's protocol, version 1: msgpack over a WebSocket.

A connection is a client. HELLO is answered by what the policy needs and gives; EPISODE_START and
EPISODE_END bound an episode; an OBSERVATION is answered by an ACTION with its number, or an ERROR.
Beside the numbers an ACTION says under ``step`` what they cost; other clients pass over it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgpack
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from vla_infoentropy_ros.foreign.budgets import limit
from vla_infoentropy_ros.foreign.text import UserError, one_line, shown
from vla_infoentropy_ros.plugins import PluginError
from vla_infoentropy_ros.serve.access import Access
from vla_infoentropy_ros.serve.arrays import ndarray_message, picture_of, state_of
from vla_infoentropy_ros.serve.cameras import WRIST, shown_to
from vla_infoentropy_ros.serve.pages import page
from vla_infoentropy_ros.serve.service import Answer, Client, RequestError, Service

PROTOCOL_VERSION = 1
NAME = "vla_infoentropy_ros"
FIELDS = ("type", "payload", "seq", "timestamp")
IDLE_S = 900.0  # a benchmark may load scenes for minutes between two observations

log = logging.getLogger(__name__)


class VlaEvalServer:
    """Serves until `close`. port 0: any free one; ``port`` then says which."""

    def __init__(self, service: Service, access: Access, port: int) -> None:
        self._service, self._access = service, access
        self._connections: set[ServerConnection] = set()
        self._server: Server = serve(
            self._serve, access.host, port, process_request=self._before, compression=None,
            max_size=limit("request_bytes"), max_queue=1, ping_interval=None,
            family=access.family,
        )
        self.port = int(self._server.socket.getsockname()[1])

    def serve_forever(self) -> None:
        """Answer until `close` is called from another thread."""
        self._server.serve_forever()

    def close(self) -> None:
        """Stop listening, and end the connections, which would keep the process alive."""
        self._server.shutdown()
        for connection in list(self._connections):  # before websockets 17 they outlive it
            connection.close()

    def _before(self, connection: ServerConnection, request: Request) -> Response | None:
        """Plain pages, and who may come in."""
        refusal = self._access.refusal(request.path, request.headers)
        found = page(self._service, request.path, refusal)
        if found is None and not refusal:
            return None
        status, kind, body = found or (HTTPStatus.FORBIDDEN, "text/plain", f"{refusal}\n".encode())
        response = connection.respond(status, "")
        response.body = body
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body)))):
            del response.headers[name]
            response.headers[name] = value
        return response

    def _serve(self, connection: ServerConnection) -> None:
        try:
            client = self._service.open()
        except UserError as error:
            if isinstance(error, PluginError):
                log.exception("the selector failed")
            self._send(connection, *self._refused(str(error)), 0)
            return
        self._connections.add(connection)
        try:
            with client, contextlib.suppress(ConnectionClosed, TimeoutError):
                while True:
                    self._answer(connection, client, connection.recv(timeout=IDLE_S))
        finally:
            self._connections.discard(connection)

    def _answer(self, connection: ServerConnection, client: Client, data: str | bytes) -> None:
        number, reply = 0, None
        try:
            message = _unpacked(data)
            number = message["seq"]
            reply = self._replied(client, message["type"], message["payload"])
        except UserError as error:
            if isinstance(error, PluginError):  # no fault of the observation
                log.exception("the policy failed")
            reply = self._refused(str(error))
        except Exception as error:
            # Whatever it is, it is this client's alone: the next observation begins anew.
            log.exception("an observation could not be answered")
            reply = self._refused(f"internal error: {one_line(error)}")
        if reply is not None:
            self._send(connection, *reply, number)

    def _refused(self, sentence: str) -> tuple[str, dict[str, Any]]:
        self._service.metrics.refused.inc()
        return "error", {"error": sentence}

    def _replied(
        self, client: Client, kind: str, payload: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]] | None:
        if kind == "hello":
            return "hello", self._hello()
        if kind == "observation":
            answer = self._act(client, payload)
            return "action", {
                "actions": ndarray_message(answer.values),
                "step": {"fresh": answer.fresh, "latency_ms": answer.latency_ms,
                         "macs": answer.macs},
            }
        if kind == "episode_start":
            client.begin()
        elif kind == "error":
            log.warning("a client reports: %s", one_line(payload.get("error", "nothing")))
        elif kind != "episode_end":
            raise RequestError(f"a message of type {shown(kind)} is not known here")
        return None

    def _act(self, client: Client, payload: Mapping[str, Any]) -> Answer:
        images = payload.get("images")
        if not (isinstance(images, Mapping) and images
                and all(isinstance(name, str) for name in images)):
            raise RequestError("the observation holds no images; send {'images': {name: array}}")
        pictures = [picture_of(images[name], f"images[{shown(name)}]")
                    for name in shown_to(self._service.policy, list(images))]
        return client.act(pictures, payload.get("task_description", ""),
                          state=state_of(payload.get("states")))

    def _hello(self) -> dict[str, Any]:
        policy = self._service.policy
        views = ("agentview", WRIST) if policy.views > 1 else ("agentview",)
        state = policy.proprioception is not None
        # LIBERO's recordings turn a hand that points down by +pi and never by -pi; its harness
        # does unless it is told.
        sent = {"send_wrist_image": policy.views > 1, "send_state": state,
                "quat_no_antipodal": state}
        return {
            "harness_version": NAME, "protocol_version": PROTOCOL_VERSION, "model_server": NAME,
            "capabilities": {}, "policy": {"name": policy.name, "revision": policy.revision},
            "observation_params": {name: True for name, wanted in sent.items() if wanted},
            "action_spec": self._service.form.description(),
            "observation_spec": {
                **{name: {"name": "image", "dims": 0, "format": "rgb_hwc_uint8"} for name in views},
                "language": {"name": "language", "dims": 0, "format": "language"},
            },
        }

    @staticmethod
    def _send(connection: ServerConnection, kind: str, payload: dict[str, Any],
              number: int) -> None:
        connection.send(msgpack.packb(
            dict(zip(FIELDS, (kind, payload, number, time.time()), strict=True))
        ))


def _unpacked(data: str | bytes) -> dict[str, Any]:
    """The message in ``data``. Raises RequestError."""
    if isinstance(data, str):
        raise RequestError("a text came; messages are binary, msgpack")
    try:
        message = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, UnicodeError, msgpack.exceptions.UnpackException) as error:
        raise RequestError(f"{len(data)} bytes that are no msgpack ({one_line(error)})") from None
    if not isinstance(message, dict) or any(name not in message for name in FIELDS):
        raise RequestError(f"a message is a map of {', '.join(FIELDS)}")
    if not isinstance(message["type"], str) or type(message["seq"]) is not int:
        raise RequestError("a message's type must be a text, its seq a whole number")
    if not isinstance(message["payload"], dict):
        raise RequestError("a message's payload must be a map")
    return message
