# SPDX-License-Identifier: Apache-2.0
"""The embedded policy, asking for a joint's position too, which it does not use: a node does not
listen to joint states on which nothing depends, and `bench abuse` abuses what is listened to."""

from __future__ import annotations

import numpy as np

from vla_infoentropy_ros.models.embedded import EmbeddedPolicy
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.proprioception import Proprioception


class StatefulPolicy(EmbeddedPolicy):
    """With a state of one number."""

    proprioception = Proprioception(np.zeros(1), np.ones(1))  # type: ignore[assignment]


def load(text: str, options: LoadOptions) -> StatefulPolicy:
    """As ``model:=module:function`` asks for it."""
    return StatefulPolicy.load(None, options.revision)
