# SPDX-License-Identifier: Apache-2.0
"""A DDS domain of one's own, so that two demos on one machine never meet."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

from vla_infoentropy_ros.argument_types import LAST_DOMAIN
from vla_infoentropy_ros.foreign.text import UserError

# Above 101 the UDP ports of a domain reach into Linux's range of ephemeral ports.
_DOMAINS = range(1, 102)
_PORT_BASE, _PORTS_PER_DOMAIN = 7400, 250
_PARTICIPANT_PORTS = (10, 11, 12, 13)  # of the first two participants


class DomainError(UserError, RuntimeError):
    """No domain can be had; the message says why."""


class DomainClaim:
    """Holds one ROS_DOMAIN_ID for this process, by a file lock that dies with the process.

    wanted: take this one, or raise DomainError; None: any free one. Use it as a context manager.
    """

    def __init__(self, wanted: int | None = None) -> None:
        if wanted is not None and not 0 <= wanted <= LAST_DOMAIN:
            raise DomainError(f"domain {wanted} is outside 0 .. {LAST_DOMAIN}")
        candidates = [wanted] if wanted is not None else random.sample(_DOMAINS, len(_DOMAINS))
        for domain in candidates:
            descriptor = _lock(domain)
            if descriptor is None:
                continue
            if wanted is None and _in_use(domain):
                os.close(descriptor)
                continue
            self.domain, self._descriptor = domain, descriptor
            return
        raise DomainError(
            f"domain {wanted} is taken by another demo; leave --domain out to get a free one"
            if wanted is not None
            else "every DDS domain of this machine is in use; end other ROS programs and try again"
        )

    def __enter__(self) -> DomainClaim:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)


def _lock(domain: int) -> int | None:
    """A descriptor that holds the lock of a domain; None while somebody else holds it."""
    folder = Path(tempfile.gettempdir())
    path = folder / f"vla_infoentropy_ros-domain-{domain}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except PermissionError:
        return None  # another user's: that user may be on this domain now
    except OSError as error:
        raise DomainError(f"cannot write {path}: {error.strerror}; set TMPDIR to a folder you "
                          "can write to") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _in_use(domain: int) -> bool:
    """Whether a DDS participant of another program sits on the domain's well-known ports."""
    for offset in _PARTICIPANT_PORTS:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", _PORT_BASE + _PORTS_PER_DOMAIN * domain + offset))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
    return False
