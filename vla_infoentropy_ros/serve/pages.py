# SPDX-License-Identifier: Apache-2.0
"""The plain pages of both servers: is it up, and what did it do."""

from __future__ import annotations

import json
from http import HTTPStatus
from urllib.parse import urlsplit

from vla_infoentropy_ros.serve.metrics import CONTENT_TYPE
from vla_infoentropy_ros.serve.service import Service

Page = tuple[HTTPStatus, str, bytes]
JSON = "application/json"


def page(service: Service, path: str, refusal: str) -> Page | None:
    """Status, content type and body of ``/health`` and ``/metrics``; None for any other path, and
    for figures that this request may not see. Whether the server is up, anybody may know."""
    name = urlsplit(path).path
    if name == "/health":
        return HTTPStatus.OK, JSON, json.dumps({"status": "ok"}).encode()
    if name == "/metrics" and not refusal:
        return HTTPStatus.OK, CONTENT_TYPE, service.metrics.page()
    return None
