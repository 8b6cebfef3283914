# SPDX-License-Identifier: Apache-2.0
"""``python -m vla_infoentropy_ros.start_node NODE ...``: run a node of this package.

Its libraries take seconds to import. A signal meanwhile ends it as one that comes later does: at
once, with exit code 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from vla_infoentropy_ros.engine.requirements import RequirementError, check_transformers
from vla_infoentropy_ros.extras import missing
from vla_infoentropy_ros.interrupting import terminable


def start(command: Sequence[str]) -> int:
    """command: the node's name, and its arguments. Returns the exit code."""
    name = command[0]
    try:
        with terminable():
            check_transformers()
            node = import_module(f"vla_infoentropy_ros.nodes.{name}")
            return int(node.main(command))
    except RequirementError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"{name}: {missing(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted while it was being started", file=sys.stderr)
        return 0


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
