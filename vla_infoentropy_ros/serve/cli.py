# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros serve``: one policy, asked over a network."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from vla_infoentropy_ros.driving.arguments import add_selection_arguments, assignments
from vla_infoentropy_ros.driving.settings import PolicyNodeSettings
from vla_infoentropy_ros.foreign.text import UserError, one_line
from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.models.loading import load_asked
from vla_infoentropy_ros.selftest import run_selftest
from vla_infoentropy_ros.serve.access import TOKEN_VARIABLE, Access
from vla_infoentropy_ros.serve.actions import FORMS, ActionForm
from vla_infoentropy_ros.session import Session, notes_on


class Server(Protocol):
    """One protocol's server, listening."""

    port: int

    def serve_forever(self) -> None: ...

    def close(self) -> None: ...


PROTOCOLS = {"vla-eval": "osc_pose", "openvla": "policy"}
"""With what each answers unless it is told otherwise."""


def main(argv: Sequence[str]) -> int:
    """Serve until interrupted; 0, or 1 with one sentence where that cannot be."""
    options = _parser().parse_args(argv)
    try:
        server = make_server(options)
    except UserError as error:
        print(f"error: {one_line(error, 1500)}", file=sys.stderr)
        return 1
    print(f"{options.protocol} on {options.host}:{server.port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.close()
    return 0


def make_server(options: argparse.Namespace) -> Server:
    """Everything is judged before the policy is loaded, which takes minutes for a large one.

    Raises UserError, also where the address cannot be had.
    """
    if not 0 <= options.port <= 65535 or options.clients < 1:
        raise SettingError(f"port={options.port} must lie in 0 .. 65535 and "
                           f"clients={options.clients} be at least 1")
    access = Access(options.host, os.environ.get(TOKEN_VARIABLE, ""))
    with _listening(options):
        socket.create_server((options.host, options.port), family=access.family).close()
    settings = PolicyNodeSettings.from_values({
        "selector": options.selector, "schedule": options.schedule,
        **assignments(options.set, "selection", "session"),
    })
    make = server_of(options.protocol)
    policy = load_asked(options)
    form = ActionForm(options.actions or PROTOCOLS[options.protocol], policy.convention)
    for note in notes_on(policy, settings.node.selector, settings.selection, settings.session):
        print(f"note: {note}", file=sys.stderr)
    report = run_selftest(policy)
    if not report.passed:
        raise SettingError(
            f"the self-test of {options.model} failed; see where: python -m vla_infoentropy_ros "
            f"selftest --model {shlex.quote(options.model)}, with the same flags"
        )
    from vla_infoentropy_ros.serve.metrics import Metrics
    from vla_infoentropy_ros.serve.service import Service

    service = Service(
        policy, lambda: Session(policy, settings.build_selector(), settings.session), form,
        Metrics(), options.clients,
    )
    with _listening(options):
        return make(service, access, options.port)


@contextlib.contextmanager
def _listening(options: argparse.Namespace) -> Iterator[None]:
    """An address that cannot be had becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise SettingError(
            f"cannot listen on {options.host}, port {options.port}: {error.strerror}; another "
            "server may run there: end it, or give another --port (0: any that is free) or --host"
        ) from error


def server_of(protocol: str) -> Callable[..., Server]:
    """A protocol's server: called with service, access and port."""
    if protocol == "openvla":
        from vla_infoentropy_ros.serve.openvla import OpenVlaServer

        return OpenVlaServer
    from vla_infoentropy_ros.serve.vla_eval import VlaEvalServer

    return VlaEvalServer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vla_infoentropy_ros serve",
        description="Answer pictures and instructions with actions. Each client has its own cache; "
        f"beyond this machine, clients show the secret in {TOKEN_VARIABLE}.",
    )
    parser.add_argument("--protocol", choices=list(PROTOCOLS), default="vla-eval",
                        help="vla-eval: WebSocket, for the evaluation harness of that name; "
                        "openvla: REST, POST /act (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0: any (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=16,
                        help="most episodes at once (default: %(default)s)")
    parser.add_argument("--actions", choices=FORMS, default="",
                        help="policy: metres and radians as the policy's; osc_pose: inputs of "
                        "LIBERO's controller (default: osc_pose for vla-eval, else policy)")
    add_selection_arguments(parser)
    add_load_arguments(parser)
    return parser
