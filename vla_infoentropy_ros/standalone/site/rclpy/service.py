# SPDX-License-Identifier: Apache-2.0
"""Service servers."""

from __future__ import annotations

import inspect
import struct
import time
from collections.abc import Callable
from typing import Any

from vla_infoentropy_ros.standalone import dds
from vla_infoentropy_ros.standalone.cdr import HEADER, CdrError
from vla_infoentropy_ros.standalone.messages import deserialize

from ._rclpy_pybind11 import InvalidHandle, RCLError
from .callback_groups import CallbackGroup
from .context import Context
from .impl.participant import user_data_value
from .qos import QoSProfile

# Request id in front of the body: handle of the client's writer, sequence number.
REQUEST_ID = struct.Struct("<Qq")
# A reply sent before the client's reader is matched is lost; discovery takes a few milliseconds.
CLIENT_MATCH_TIMEOUT_SEC = 0.2


def with_request_id(guid: int, sequence: int, message: Any) -> bytes:
    """Serialise a request or reply with its id."""
    buffer = bytearray(HEADER)
    buffer += REQUEST_ID.pack(guid, sequence)
    type(message)._write(buffer, message)
    buffer += bytes(-len(buffer) % 4)
    return bytes(buffer)


def split_request_id(data: bytes, cls: Any) -> tuple[int, int, Any]:
    """Return writer handle, sequence number and body of a request or reply."""
    if len(data) < len(HEADER) + REQUEST_ID.size:
        raise CdrError(f"{len(data)} bytes are too short for a request id.")
    guid, sequence = REQUEST_ID.unpack_from(data, len(HEADER))
    return guid, sequence, deserialize(data, cls, REQUEST_ID.size)


class Service:
    """Answers requests; create with :meth:`Node.create_service`."""

    def __init__(
        self,
        reader: dds.Reader,
        writer: dds.Writer,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        callback_group: CallbackGroup,
        qos_profile: QoSProfile,
        context: Context,
        logger: Any,
    ) -> None:
        """Keep both endpoints."""
        self._reader = reader
        self._writer = writer
        self._context = context
        self._logger = logger
        self._alive = True
        self._ready_clients: set[int] = set()
        self.srv_type = srv_type
        self.srv_name = srv_name
        self.callback = callback
        self.callback_group = callback_group
        self.qos_profile = qos_profile
        # When set, the callback gets the request and a function to answer it with, at any time.
        self.deferred = False

    @property
    def service_name(self) -> str:
        """Full service name."""
        return self.srv_name

    @property
    def handle(self) -> Service:
        """The service itself; there is no compiled part."""
        return self

    @property
    def condition(self) -> Any:
        """What a wait set attaches."""
        return self._reader.condition

    def is_ready(self) -> bool:
        """Whether a request waits."""
        return self._reader.has_data()

    def take(self) -> tuple[Any, tuple[int, int, int]] | None:
        """Take a request and what is needed to answer it."""
        sample = self._reader.take()
        if sample is None:
            return None
        data, info = sample
        try:
            guid, sequence, request = split_request_id(data, self.srv_type.Request)
        except CdrError as error:
            self._logger.error(f"Request to {self.srv_name!r} dropped: {error}")
            return None
        return request, (guid, sequence, info.publication_handle)

    def take_callback(self, executor: Any) -> Callable[[], Any] | None:
        """Take a request and return a function that answers it."""
        taken = self.take()
        if taken is None:
            return None
        request, header = taken

        def answer() -> Any:
            if self.deferred:
                return self.callback(request, lambda response: self.send_response(response, header))
            response = self.callback(request, self.srv_type.Response())
            if inspect.iscoroutine(response):
                return self._answer_later(response, header)
            self.send_response(response, header)
            return None

        return answer

    async def _answer_later(self, response: Any, header: tuple[int, int, int]) -> None:
        self.send_response(await response, header)

    def send_response(self, response: Any, header: tuple[int, int, int]) -> None:
        """Answer a request."""
        if not isinstance(response, self.srv_type.Response):
            raise TypeError(
                f"The callback of service {self.srv_name!r} returned "
                f"{type(response).__name__}; it must return its response argument."
            )
        if not self._alive:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")
        if not self._context.ok():
            raise RCLError("Failed to send response: the context is invalid")
        guid, sequence, publication_handle = header
        self._wait_for_client(publication_handle)
        self._writer.write(with_request_id(guid, sequence, response))

    def _wait_for_client(self, publication_handle: int) -> None:
        if publication_handle in self._ready_clients:
            return
        limit = time.monotonic() + CLIENT_MATCH_TIMEOUT_SEC
        while time.monotonic() < limit:
            source = self._reader.source(publication_handle)
            if source is None:
                return  # the client is gone
            wanted = user_data_value(source.qos, "clientid")
            if wanted is None or any(
                user_data_value(item.qos, "clientid") == wanted for item in self._writer.matched()
            ):
                self._ready_clients.add(publication_handle)
                return
            time.sleep(0.002)

    def destroy(self) -> None:
        """Delete both endpoints."""
        self._alive = False
        self._reader.close()
        self._writer.close()
