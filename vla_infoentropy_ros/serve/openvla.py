# SPDX-License-Identifier: Apache-2.0
"""OpenVLA's REST interface: ``POST /act`` with a picture and an instruction, JSON with json_numpy.

The protocol knows no episodes, and two robots behind one address would be told apart by nothing.
So a request shares nothing with any other, unless it names its episode: ``/act?session=NAME``.
``POST /reset?session=NAME`` begins it anew. As OpenVLA's server does, a body ``{"encoded": "..."}``
that holds the request once more as a text is answered by a text.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from vla_infoentropy_ros.foreign.budgets import limit
from vla_infoentropy_ros.foreign.text import UserError, one_line, shown
from vla_infoentropy_ros.plugins import PluginError
from vla_infoentropy_ros.serve.access import Access
from vla_infoentropy_ros.serve.arrays import numpy_json, picture_of, state_of
from vla_infoentropy_ros.serve.cameras import own_or
from vla_infoentropy_ros.serve.pages import JSON, page, parts_of
from vla_infoentropy_ros.serve.service import BusyError, Client, RequestError, Service

PICTURES = ("image", "wrist_image", "third_image")
PATHS = ("/act", "/reset")
SILENCE_S = 30.0  # a client that says nothing for so long in mid-request is left
BODY_S = 60.0  # and one whose body takes so long
LINGER_S = 2.0  # for a body that nobody reads
SPARE_BODIES = 4  # that wait beside those of the clients who are served
NAME_CHARACTERS = 64
_LONGEST_NUMBER = 18  # digits
_PIECE = 1 << 16  # bytes that are read at a time

log = logging.getLogger(__name__)


class Episodes:
    """Clients by the name that requests give, the one longest unused first."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._named: OrderedDict[str, tuple[Client, threading.Lock]] = OrderedDict()

    @contextmanager
    def client(self, name: str) -> Iterator[Client]:
        """The client of that name for one request; "" for one that nobody has again."""
        if not name:
            with self._lock:
                alone = self._opened()
            with alone:
                yield alone
            return
        with self._lock:
            if name not in self._named:
                self._named[name] = (self._opened(), threading.Lock())
            self._named.move_to_end(name)
            client, turn = self._named[name]
        with turn:
            yield client

    def _opened(self) -> Client:
        """A new client; where there is no room, the name longest unused goes."""
        try:
            return self._service.open()
        except BusyError:
            for name, (client, turn) in self._named.items():
                if turn.acquire(blocking=False):
                    turn.release()
                    del self._named[name]
                    client.close()
                    return self._service.open()
            raise


class OpenVlaServer:
    """Serves until `close`. port 0: any free one; ``port`` then says which."""

    def __init__(self, service: Service, access: Access, port: int) -> None:
        handler = type("Handler", (_Handler,), {
            "service": service, "access": access, "episodes": Episodes(service),
            "room": threading.BoundedSemaphore(service.most_clients + SPARE_BODIES),
        })
        listener = type("Listener", (_Listener,), {"address_family": access.family})
        self._server = listener((access.host, port), handler)
        self.port = int(self._server.server_address[1])

    def serve_forever(self) -> None:
        """Answer until `close` is called from another thread."""
        self._server.serve_forever()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error of ours: its connection ends, and nothing else."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    service: Service
    access: Access
    episodes: Episodes
    room: threading.BoundedSemaphore
    protocol_version = "HTTP/1.1"
    timeout = SILENCE_S
    disable_nagle_algorithm = True  # else a body waits 40 ms for its header to be acknowledged

    def do_GET(self) -> None:
        refusal = self._refusal()
        status, kind, body = page(self.service, self.path, refusal) or (
            HTTPStatus.FORBIDDEN if refusal else HTTPStatus.NOT_FOUND, JSON,
            _error(refusal or "GET knows /health and /metrics"),
        )
        self._reply(status, body, kind)

    def do_POST(self) -> None:
        status, sentence = HTTPStatus.BAD_REQUEST, ""
        self._whole = False  # its body has been read
        try:
            where = parts_of(self.path)
            sentence = self._refusal()
            if sentence:
                status = HTTPStatus.FORBIDDEN
            elif where.path not in PATHS:
                status, sentence = HTTPStatus.NOT_FOUND, f"POST knows {' and '.join(PATHS)}"
            else:
                body = self._served(where.path, where.query)
        except BusyError as error:
            status, sentence = HTTPStatus.SERVICE_UNAVAILABLE, str(error)
        except PluginError as error:  # no fault of the request
            log.exception("the policy failed")
            status, sentence = HTTPStatus.INTERNAL_SERVER_ERROR, str(error)
        except UserError as error:
            sentence = str(error)
        except (ConnectionError, TimeoutError):
            raise  # it has gone, or fallen silent: nobody is there to be answered
        except Exception as error:
            # Whatever it is, it is this request's alone.
            log.exception("a request could not be answered")
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            sentence = f"internal error: {one_line(error)}"
        if sentence:
            self.service.metrics.refused.inc()
            self.close_connection = True  # part of its body may not have been read
            self._reply(status, _error(sentence))
            if not self._whole:
                self._linger()
        else:
            self._reply(HTTPStatus.OK, body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each step of each robot says nothing, and would hold tokens."""

    def _refusal(self) -> str:
        return self.access.refusal(self.path, self.headers)  # type: ignore[arg-type]

    def _served(self, path: str, query: str) -> bytes:
        """Bodies may be large: no more wait at a time than there is room for."""
        if not self.room.acquire(blocking=False):
            raise BusyError("too many requests at once; try again later, or start the server with "
                            "a larger --clients")
        try:
            name, body = _name(query), self._body()
            return self._answer(path, name, body)
        finally:
            self.room.release()

    def _answer(self, path: str, name: str, body: bytes) -> bytes:
        if path == "/reset":
            if not name:
                raise RequestError("/reset: name the episode, as in /reset?session=NAME")
            with self.episodes.client(name) as client:
                client.begin()
            return json.dumps({"status": "ok"}).encode()
        request, twice = _request(body)
        policy = self.service.policy
        key = request.get("unnorm_key")
        if key not in (None, "", policy.norm_key):
            raise RequestError(
                f"unnorm_key={shown(key)}: this policy un-normalises by {policy.norm_key!r}"
            )
        fields = own_or(policy, request.keys(), PICTURES[: policy.views])
        pictures = [picture_of(request.get(field), field) for field in fields]
        with self.episodes.client(name) as client:
            answer = client.act(pictures, request.get("instruction", ""), time.monotonic_ns(),
                                state_of(request.get("state")))
        text = json.dumps(numpy_json(answer.values))
        return (json.dumps(text) if twice else text).encode()

    def _body(self) -> bytes:
        """All that was announced."""
        length = self.headers.get("Content-Length", "")
        most = limit("request_bytes")
        if not length.isdecimal() or len(length) > _LONGEST_NUMBER or int(length) > most:
            raise RequestError(
                f"Content-Length={shown(length)}: say how many bytes come, at most {most:,}"
            )
        data, until_s = bytearray(), time.monotonic() + BODY_S
        while len(data) < int(length):
            some = self.rfile.read1(min(int(length) - len(data), _PIECE))
            if not some or time.monotonic() > until_s:
                raise RequestError(f"{len(data)} bytes came of {length} that were announced")
            data += some
        self._whole = True
        return bytes(data)

    def _linger(self) -> None:
        """Drop what still comes, a while: a connection that is closed with bytes unread is cut
        before its client has read the answer."""
        left, until_s = limit("request_bytes"), time.monotonic() + LINGER_S
        self.connection.settimeout(LINGER_S)
        with contextlib.suppress(OSError):
            while left > 0 and time.monotonic() < until_s:
                some = self.rfile.read1(min(left, _PIECE))
                if not some:
                    return
                left -= len(some)

    def _reply(self, status: HTTPStatus, body: bytes, kind: str = JSON) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _request(body: bytes) -> tuple[Mapping[str, Any], bool]:
    """The request, and whether it stood as a text within another. Raises RequestError."""
    request = _parsed(body)
    twice = isinstance(request, dict) and isinstance(request.get("encoded"), str)
    if twice:
        request = _parsed(request["encoded"])
    if not isinstance(request, dict):
        raise RequestError("the body is no JSON object with image and instruction")
    return request, twice


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON ({one_line(error)})") from None


def _name(query: str) -> str:
    try:
        names = parse_qs(query, errors="strict").get("session", [""])
    except UnicodeDecodeError:
        raise RequestError("session=...: the name is not UTF-8") from None
    if len(names) > 1:
        raise RequestError(f"session is given {len(names)} times; give one")
    name = names[0]
    if len(name) > NAME_CHARACTERS or not name.isprintable():
        raise RequestError(f"session={shown(name)}: a name of at most {NAME_CHARACTERS} characters")
    return name


def _error(sentence: str) -> bytes:
    return json.dumps({"error": sentence}).encode()
