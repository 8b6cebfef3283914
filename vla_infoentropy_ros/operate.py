# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros operate``: what an operator does, where there is no ``ros2``.

It asks one policy node, on the ROS domain and with the discovery of its environment, prints the
node's answer and ends with 0 where it is as asked, else with 1; `status` with 1 for a fault.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from vla_infoentropy_ros.foreign.text import UserError, shown
from vla_infoentropy_ros.share import PACKAGE

_DO = {
    "enable": "open the operator's interlock: the robot may move",
    "disable": "close it: zero command, at once",
    "clear_fault": "release the fault that is latched",
    "reset": "zero command, and a new episode with the next image",
    "status": "what the node does, and what is in the way",
    "instruct": "give the instruction TEXT; with a limit until that is reached, telling each step; "
                "an interrupt stops the robot",
}
_NAME = r"[A-Za-z_]\w*"


def main(argv: Sequence[str]) -> int:
    """Do it, and print the answer."""
    options = _parser().parse_args(argv)
    try:
        policy = _full_name(options.namespace, options.node)
        if (options.do == "instruct") != bool(options.text.strip()):
            raise UserError("instruct takes a text, like 'open the box', the others none")
        if any("\ud800" <= letter <= "\udfff" for letter in options.text):  # as Python takes them
            raise UserError(f"instruct {shown(options.text)}: these bytes are no UTF-8, in which "
                            "messages are written")
        if not 0.0 < options.wait <= 3600.0:
            raise UserError(f"--wait {options.wait:g}: must lie in 0 .. 3600 s")
        _check_limits(options)
        done, lines = _do(options, policy)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*lines, sep="\n", file=sys.stdout if done else sys.stderr)
    return 0 if done else 1


def _do(options: argparse.Namespace, policy: str) -> tuple[bool, list[str]]:
    """Whether it is as asked, and the lines to print. The part that needs ROS."""
    from vla_infoentropy_ros.nodes.clients.operator import Operator, told

    with Operator(policy, options.wait) as operator:
        if options.do == "status":
            status = operator.newest()
            twice = operator.namesakes()
            return not (status.fault or twice), [*told(status), *filter(None, [twice])]
        if options.do == "instruct" and (options.time_limit or options.step_limit):
            done, sentence = operator.carry_out(
                options.text, options.time_limit, options.step_limit,
                lambda line: print(line, flush=True),
            )
        elif options.do == "instruct":
            done, sentence = operator.instruct(options.text)
        elif options.do in ("clear_fault", "reset"):
            done, sentence = operator.trigger(options.do)
        else:
            done, sentence = operator.enable(options.do == "enable")
        return done, [sentence]


def _check_limits(options: argparse.Namespace) -> None:
    limits = {"--time-limit": options.time_limit, "--step-limit": options.step_limit}
    for flag, limit in limits.items():
        if not 0 <= limit < 2**32:
            raise UserError(f"{flag} {limit}: give a positive number, or 0 for no limit")
        if limit and options.do != "instruct":
            raise UserError(f"{flag} {limit} is for instruct; {options.do} has no end")


def _full_name(namespace: str, node: str) -> str:
    """Such as /left/policy_node. Raises UserError for what is no name."""
    name = "".join(f"/{part}" for part in (namespace.strip("/"), node) if part)
    if not re.fullmatch(rf"(/{_NAME})+", name, re.ASCII):
        raise UserError(f"--namespace {shown(namespace)} --node {shown(node)}: names are letters, "
                        "digits and _, not beginning with a digit, / between them")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {PACKAGE} operate", description=__doc__)
    parser.add_argument("do", choices=list(_DO),
                        help="; ".join(f"{name}: {what}" for name, what in _DO.items()))
    parser.add_argument("text", nargs="?", default="", help="of instruct")
    parser.add_argument("--time-limit", type=float, default=0.0,
                        help="of instruct: s, after which the robot stands and no instruction is "
                             "in force (default: none)")
    parser.add_argument("--step-limit", type=int, default=0,
                        help="of instruct: policy steps, after which the same (default: none)")
    parser.add_argument("--namespace", default="", help="of the node, as its launch file was given")
    parser.add_argument("--node", default="policy_node", help="its name (default: %(default)s)")
    parser.add_argument("--wait", type=float, default=5.0,
                        help="s, within which it is found, and answers (default: %(default)s)")
    return parser
