# SPDX-License-Identifier: Apache-2.0
"""XML of others: data without definitions of its own.

A few lines of entities that hold one another expand to gigabytes; nothing that we read needs any.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from vla_infoentropy_ros.foreign.budgets import BudgetError, within
from vla_infoentropy_ros.foreign.text import one_line

_DEFINITIONS = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.I)


def parse_xml(
    text: str, subject: str, budget: str, error: type[Exception] = BudgetError
) -> ElementTree.Element:
    """The root element of ``text``; subject: what it is, for messages.

    Raises ``error`` for a text beyond the budget, with a document type, or that is no XML.
    """
    within(budget, len(text), subject, error)
    if _DEFINITIONS.search(text):
        raise error(f"{subject} has a document type of its own (<!DOCTYPE ...>): remove it")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - neither long nor with entities by now
    except ElementTree.ParseError as cause:
        raise error(f"{subject} is no XML: {one_line(cause)}") from cause
