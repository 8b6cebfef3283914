# SPDX-License-Identifier: Apache-2.0
"""Names that user code imports from the compiled part of rclpy."""


class RCLError(RuntimeError):
    """An operation on a context, node or endpoint that is no longer valid."""


class InvalidHandle(RuntimeError):
    """An operation on something that was destroyed."""
