# SPDX-License-Identifier: Apache-2.0
"""The plain pages of both servers: is it up, and what did it do."""

from __future__ import annotations

import json
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from vla_infoentropy_ros.foreign.text import shown
from vla_infoentropy_ros.serve.metrics import CONTENT_TYPE
from vla_infoentropy_ros.serve.service import RequestError, Service

Page = tuple[HTTPStatus, str, bytes]
JSON = "application/json"


def parts_of(path: str) -> SplitResult:
    """Of a request's target. Raises RequestError for one that cannot be."""
    try:
        return urlsplit(path)
    except ValueError:
        raise RequestError(f"{shown(path)} is no address of a page") from None


def page(service: Service, path: str, refusal: str) -> Page | None:
    """Status, content type and body of ``/health`` and ``/metrics``; None for any other path, and
    for figures that this request may not see. Whether the server is up, anybody may know."""
    try:
        name = parts_of(path).path
    except RequestError as error:
        return HTTPStatus.BAD_REQUEST, JSON, json.dumps({"error": str(error)}).encode()
    if name == "/health":
        return HTTPStatus.OK, JSON, json.dumps({"status": "ok"}).encode()
    if name == "/metrics" and not refusal:
        return HTTPStatus.OK, CONTENT_TYPE, service.metrics.page()
    return None
