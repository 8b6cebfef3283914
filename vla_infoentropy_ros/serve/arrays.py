# SPDX-License-Identifier: Apache-2.0
"""Pictures and numbers inside messages, taken apart without trusting what they say of themselves.

Three ways to write an array are known: vla-eval's ``__image__`` and ``__ndarray__``, and
json_numpy's ``__numpy__``. Pictures stay undecoded: `driving.images` judges them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_infoentropy_ros.driving.images import PackedPicture, Picture, RawPicture
from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.models.json_fields import is_number
from vla_infoentropy_ros.serve.service import RequestError

_FLOATS = ("<f4", "<f8", "float32", "float64")
_BYTES = ("|u1", "u1", "uint8")


def picture_of(value: Any, name: str) -> Picture:
    """The picture that ``value`` holds: RGB (h, w, 3) of bytes, or a PNG or JPEG.

    name: how the message calls it. Raises RequestError for anything else, ImageError where sizes
    disagree.
    """
    if not isinstance(value, Mapping):
        raise RequestError(f"{name} is no array: send RGB bytes (h, w, 3), a PNG or a JPEG")
    packed = value.get("format") if "__image__" in value else None
    if packed in ("png", "jpeg"):
        picture: Picture = PackedPicture(str(packed), _bytes(value.get("data"), name))
    else:
        picture = _raw_picture(value, name)
    picture.check()
    return picture


def state_of(value: Any) -> NDArray[np.float64] | None:
    """A robot state (S,) that was sent as a list of numbers or as an array; None for none. How
    many there are and whether they are finite, the policy judges."""
    if value is None:
        return None
    if isinstance(value, Mapping) and value.get("dtype") in _FLOATS:
        data = (_from_base64(value["__numpy__"], "state") if "__numpy__" in value
                else _bytes(value.get("data"), "state"))
        if len(data) % np.dtype(value["dtype"]).itemsize == 0:
            return np.frombuffer(data, value["dtype"]).astype(np.float64)
    if isinstance(value, (list, tuple)) and all(map(is_number, value)):
        return np.array(value, dtype=np.float64)
    raise RequestError(f"state={shown(value)}: send a list of numbers or an array of floats")


def _raw_picture(value: Mapping[str, Any], name: str) -> Picture:
    if "__numpy__" in value:
        data = _from_base64(value["__numpy__"], name)
    elif "__image__" in value or "__ndarray__" in value:
        data = _bytes(value.get("data"), name)
    else:
        keys = sorted(map(str, value))
        raise RequestError(f"{name} has keys {shown(keys)}, which write no array")
    shape: Any = value.get("shape")
    whole = isinstance(shape, (list, tuple)) and all(type(side) is int for side in shape)
    if value.get("dtype") not in _BYTES or not whole or len(shape) != 3 or shape[2] != 3:
        raise RequestError(
            f"{name} has type {shown(value.get('dtype'))} and shape {shown(shape)}: send uint8 "
            "(h, w, 3), RGB"
        )
    height, width, _ = shape
    return RawPicture("rgb8", width, height, 3 * width, data)


def numpy_json(values: NDArray[np.float64]) -> dict[str, Any]:
    """As json_numpy writes an array."""
    return {"__numpy__": base64.b64encode(values.tobytes()).decode("ascii"),
            "dtype": values.dtype.str, "shape": list(values.shape)}


def ndarray_message(values: NDArray[np.float64]) -> dict[str, Any]:
    """As vla-eval writes an array."""
    return {"__ndarray__": True, "data": values.tobytes(), "dtype": values.dtype.str,
            "shape": list(values.shape)}


def _bytes(value: Any, name: str) -> bytes:
    if not isinstance(value, bytes):
        raise RequestError(f"{name} holds no bytes as its data")
    return value


def _from_base64(value: Any, name: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise RequestError(f"{name} holds no base64 as its data") from None
