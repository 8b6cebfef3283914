# SPDX-License-Identifier: Apache-2.0
"""Arguments of measurements that name what is to be run, for argparse."""

from __future__ import annotations

import argparse

from vla_infoentropy_ros.knobs import SettingError
from vla_infoentropy_ros.selection import check_selector
from vla_infoentropy_ros.variants import Variant


def selector_name(text: str) -> str:
    """A selector, of this package or a plug-in."""
    try:
        check_selector(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def variant_name(text: str) -> str:
    """The same, with +window if so wanted."""
    try:
        return str(Variant.parse(text))
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
