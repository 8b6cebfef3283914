# SPDX-License-Identifier: Apache-2.0
"""Actions: goals that take time, with feedback, results and cancellation."""

from .client import ActionClient
from .server import ActionServer, CancelResponse, GoalResponse

__all__ = ["ActionClient", "ActionServer", "CancelResponse", "GoalResponse"]
