# SPDX-License-Identifier: Apache-2.0
"""Messages to bytes and back."""

from __future__ import annotations

from typing import Any

from vla_infoentropy_ros.standalone.messages import deserialize, serialize, type_name


def serialize_message(message: Any) -> bytes:
    """Return the CDR bytes of a message."""
    type_name(type(message))
    return serialize(message)


def deserialize_message(serialized_message: bytes, message_type: Any) -> Any:
    """Return the message of CDR bytes."""
    type_name(message_type)
    return deserialize(serialized_message, message_type)
