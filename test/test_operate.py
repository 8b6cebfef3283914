# SPDX-License-Identifier: Apache-2.0
"""What the operator's command refuses before it looks for a node."""

from __future__ import annotations

import pytest

from vla_infoentropy_ros import operate


@pytest.mark.parametrize(("words", "told"), [
    (["instruct"], "instruct takes a text"),
    (["instruct", " "], "instruct takes a text"),
    (["enable", "now"], "the others none"),
    (["status", "--namespace", "left arm"], "--namespace 'left arm'"),
    (["status", "--node", "2nd"], "--node '2nd'"),
    (["status", "--node", ""], "--node ''"),
    (["status", "--wait", "0"], "--wait 0"),
    (["status", "--wait", "nan"], "--wait nan"),
    (["instruct", "go", "--time-limit", "-1"], "--time-limit -1.0: give a positive number"),
    (["instruct", "go", "--time-limit", "inf"], "--time-limit inf"),
    (["instruct", "go", "--time-limit", "nan"], "--time-limit nan"),
    (["instruct", "go", "--step-limit", "4294967296"], "--step-limit 4294967296: give"),
    (["instruct", "go", "--step-limit", "9" * 400], "--step-limit 9999999999"),
    (["instruct", "\udcff"], "instruct '\\udcff': these bytes are no UTF-8"),
    (["enable", "--time-limit", "5"], "--time-limit 5.0 is for instruct; enable has no end"),
])
def test_what_cannot_be_meant_is_one_sentence(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operate.main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("namespace", ["left", "/left", "/left/", "a/b"])
def test_a_namespace_may_have_its_slashes(namespace: str) -> None:
    assert operate._full_name(namespace, "policy_node") == f"/{namespace.strip('/')}/policy_node"
