# SPDX-License-Identifier: Apache-2.0
"""One policy for many clients at once: they share the weights, and each has a cache of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.driving.images import Picture
from vla_infoentropy_ros.foreign.text import UserError
from vla_infoentropy_ros.models.adapter import PolicyAdapter
from vla_infoentropy_ros.models.instruction import instruction_words
from vla_infoentropy_ros.serve.actions import ActionForm
from vla_infoentropy_ros.serve.metrics import Metrics
from vla_infoentropy_ros.session import Session


class RequestError(UserError, ValueError):
    """A request that cannot be answered; the message goes to whoever asked."""


class BusyError(RequestError):
    """As many clients as are allowed are here already."""


@dataclass(frozen=True)
class Answer:
    """values: (7,) as the `ActionForm` writes them. fresh: visual tokens recomputed. macs: of all
    that ran, by the papers' counter."""

    values: NDArray[np.float64]
    fresh: int
    latency_ms: float
    macs: int


class Service:
    """make_session: a session of its own for each client, all with one policy.

    Steps run one at a time, for each uses all cores; clients may call from any thread.
    """

    def __init__(
        self, policy: PolicyAdapter, make_session: Callable[[], Session], form: ActionForm,
        metrics: Metrics, most_clients: int = 16,
    ) -> None:
        self.policy, self.form, self.metrics = policy, form, metrics
        self._make_session, self.most_clients = make_session, most_clients
        self._turn = threading.Lock()
        self._count_lock, self._clients = threading.Lock(), 0

    def open(self) -> Client:
        """A new client. Raises BusyError, and what a selector of others raises when it is made."""
        with self._count_lock:
            if self._clients >= self.most_clients:
                raise BusyError(
                    f"{self._clients} clients are served, the most allowed; try again later, or "
                    "start the server with a larger --clients"
                )
            self._clients += 1
            self.metrics.clients.set(self._clients)
        try:
            return Client(self, self._make_session())
        except BaseException:
            self._left()
            raise

    def _left(self) -> None:
        with self._count_lock:
            self._clients -= 1
            self.metrics.clients.set(self._clients)

    def _step(
        self, session: Session, pictures: Sequence[Picture], instruction: str,
        stamp_ns: int | None, state: NDArray[np.float64] | None,
    ) -> Answer:
        views = self.policy.views
        if len(pictures) != views:
            raise RequestError(f"{len(pictures)} pictures sent; this policy looks at {views}")
        words = instruction_words(instruction)
        images = [picture.rgb() for picture in pictures]
        taken = None if self.policy.proprioception is None else state
        with self._turn:
            session.set_instruction(words)
            result = session.step(images, stamp_ns, state=taken)
        self.metrics.stepped(result)
        return Answer(self.form.write(result.action), result.report.fresh, result.latency_ms,
                      result.macs)


class Client:
    """One client's episode after episode. Used by one thread at a time."""

    def __init__(self, service: Service, session: Session) -> None:
        self._service, self._session = service, session
        self._open = True

    def begin(self) -> None:
        """A new episode: nothing that came before is used again."""
        self._session.reset("reset")

    def act(self, pictures: Sequence[Picture], instruction: str,
            stamp_ns: int | None = None, state: NDArray[np.float64] | None = None) -> Answer:
        """The policy's answer to one picture per view; another instruction than before begins a
        new episode.

        stamp_ns: when the pictures came, on a clock that never runs back, where time passes for
        the robot meanwhile; a simulator waits, and has none. state: the robot's (S,), for a
        policy that takes one; others do not look at it. Raises UserError in one sentence; the
        next step then recomputes everything.
        """
        return self._service._step(self._session, pictures, instruction, stamp_ns, state)

    def close(self) -> None:
        """Leave; a second time does nothing."""
        if self._open:
            self._open = False
            self._service._left()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
