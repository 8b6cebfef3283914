# SPDX-License-Identifier: Apache-2.0
"""Who may ask: this machine alone, or whoever has the token; and no web page of a browser."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from vla_infoentropy_ros.foreign.text import UserError

TOKEN_VARIABLE = "VLA_INFOENTROPY_TOKEN"  # noqa: S105 - its name
SHORTEST_TOKEN = 16


class AccessError(UserError, ValueError):
    """A server would stand open."""


@dataclass(frozen=True)
class Access:
    """host: the address that is listened on. token: "" for none, which only loopback may have."""

    host: str
    token: str = ""

    def __post_init__(self) -> None:
        if self.token and len(self.token) < SHORTEST_TOKEN:
            raise AccessError(
                f"{TOKEN_VARIABLE} has {len(self.token)} characters: give at least "
                f"{SHORTEST_TOKEN}, for example from 'openssl rand -hex 16'"
            )
        if not self.token and not _is_loopback(self.host):
            raise AccessError(
                f"host={self.host!r} can be reached by others: set {TOKEN_VARIABLE} to a secret "
                "that clients must show, or listen on 127.0.0.1"
            )

    @property
    def family(self) -> socket.AddressFamily:
        """Of the address, as sockets tell IPv6 from IPv4."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def refusal(self, path: str, headers: Mapping[str, str]) -> str:
        """Why a request is refused, or "". The token comes in ``Authorization: Bearer ...`` or,
        for clients that can set no header, as ``?token=...``."""
        try:
            origin, shown = headers.get("Origin"), headers.get("Authorization") or ""
        except LookupError:  # of websockets
            return "a header is there twice"
        if origin:
            return "requests of web pages are not answered"
        if not self.token:
            return ""
        scheme, _, given = shown.partition(" ")
        if scheme.lower() != "bearer":
            given = parse_qs(path.partition("?")[2]).get("token", [""])[0]
        if hmac.compare_digest(given.encode(), self.token.encode()):
            return ""
        return "the token is missing or wrong; send it as 'Authorization: Bearer ...' or ?token=..."


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
