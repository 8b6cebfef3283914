# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in set-up."""


class SetupError(RuntimeError):
    """Set-up cannot go on; the message is one sentence with the remedy."""
