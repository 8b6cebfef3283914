# SPDX-License-Identifier: Apache-2.0
"""What a model's name leads to: a folder, the hub, or one sentence that says why not."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from test.models.hub import COMMIT, FakeHub, fake_hub
from test.models.tiny_openvla import write_tiny_openvla
from vla_infoentropy_ros.models.adapter import PolicyAdapter, PolicyError
from vla_infoentropy_ros.models.load_options import LoadOptions
from vla_infoentropy_ros.models.loading import load_policy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_openvla(tmp_path / "openvla", image_size=56)


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return fake_hub(monkeypatch, folder)


def _load(model: str | Path, revision: str = "") -> PolicyAdapter:
    options = LoadOptions(unnorm_key="bridge_orig", revision=revision)
    return load_policy(str(model), options, progress=False)


def _refused(model: str | Path, *words: str, revision: str = "") -> None:
    with pytest.raises(PolicyError) as caught:
        _load(model, revision)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert "\n" not in message and len(message) < 600


def test_names_that_lead_nowhere(folder: Path) -> None:
    _refused("/no/such/folder", "no such folder")
    _refused(folder.parent / "openvl", "no such folder", "did you mean openvla?")
    _refused("embeded", "no such folder", "did you mean embedded or ")
    _refused(folder / "config.json", "is a file")
    _refused("~nobody-of-this-name/x", "~nobody-of-this-name/x", "cannot be followed")
    _refused("x" * 5000, "cannot be followed", "too long")
    _refused(f"/{'y' * 300}/z", "cannot be followed", "too long")


def test_links(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "good").symlink_to(folder)
    assert _load(tmp_path / "good").name == "openvla"
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    _refused(tmp_path / "dangling", "is a link to a folder that is not there")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    _refused(tmp_path / "loop", "loop")
    (folder / "notes.json").symlink_to(tmp_path / "gone.json")
    _refused(folder, "notes.json is a link to a file that is not there", "cp -L")


@pytest.mark.parametrize("name", ["x.json", "x.safetensors"])
def test_a_folder_that_is_called_like_a_file(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    _refused(folder, name, "is a folder, must be a file")


def test_what_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "merges.json")
    _refused(folder, "merges.json is neither a file nor a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_without_the_right_to_read(folder: Path) -> None:
    folder.chmod(0o000)
    try:
        _refused(folder, "cannot be read")
    finally:
        folder.chmod(0o755)


def test_the_root_of_a_cached_model(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "models--owner--name"
    (root / "snapshots").mkdir(parents=True)
    (root / "blobs").mkdir()
    _refused(root, "config.json is missing", "name snapshots/<commit> in it")
    (root / "snapshots" / COMMIT).symlink_to(folder)
    _refused(root, f"name snapshots/{COMMIT} in it")
    assert _load(root / "snapshots" / COMMIT).name == "openvla"


def test_the_folder_above(folder: Path) -> None:
    _refused(folder.parent, "config.json is missing", "did you mean openvla in it?")


def test_two_policies_in_one_folder(folder: Path) -> None:
    (folder / "policy.json").write_text("{}")
    _refused(folder, "policy.json of an embedded policy and config.json of another one")


def test_a_folder_of_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vla_infoentropy_ros.models.contents.MOST_NAMES", 20)
    for number in range(11):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "file").touch()
    _refused(tmp_path, "more than 20 files")


def test_a_folder_is_pinned_by_all_of_its_bytes(folder: Path) -> None:
    pin = _load(folder).revision
    for given in (pin, pin.removeprefix("sha256-")):
        assert _load(folder, given).revision == pin
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        content = (folder / name).read_bytes()
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        (folder / name).write_bytes(content + b"\n" if name.endswith("json") else changed)
        _refused(folder, "holds other files than those that were pinned", revision=pin)
        (folder / name).write_bytes(content)
    (folder / "dataset_statistics.json").write_text("{}")
    _refused(folder, "holds other files", revision=pin)


@pytest.mark.parametrize("revision", ["l", "local-0000", "sha256-", "sha256-12", "main", "0" * 63])
def test_what_is_no_pin_of_a_folder(folder: Path, revision: str) -> None:
    _refused(folder, "is no pin of a folder", "64 hex digits", revision=revision)


def test_a_file_that_was_changed_since_it_was_fetched(hub: FakeHub) -> None:
    _load("owner/name", COMMIT)
    for name in ("model.safetensors", "tokenizer.json"):
        blob = (hub.cache / COMMIT / name).resolve()
        content = blob.read_bytes()
        blob.write_bytes(content.replace(b"0", b"1", 1))
        for hub.offline in (False, True):
            _refused("owner/name", name, "changed since it was fetched", revision=COMMIT)
        blob.write_bytes(content)
    hub.offline = False
    _load("owner/name", COMMIT)


def test_a_link_to_other_content_or_to_none(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    _load("owner/name", COMMIT)
    link, other = hub.cache / COMMIT / "tokenizer.json", hub.cache / COMMIT / "config.json"
    content = link.read_bytes()
    link.unlink()
    link.symlink_to(other.resolve())
    monkeypatch.setattr("vla_infoentropy_ros.models.source._fetch", lambda *_: other.parent)
    _refused("owner/name", "tokenizer.json", "must be", revision=COMMIT)
    link.unlink()
    link.write_bytes(content)
    _refused("owner/name", "is no link into the hub's cache", revision=COMMIT)


def test_hub_id_is_downloaded_at_its_revision(folder: Path, hub: FakeHub) -> None:
    (folder / "modeling_prismatic.py").write_text("raise SystemExit('ran')\n")
    (folder / "README.md").touch()
    (folder / "training").mkdir()
    (folder / "training" / "args.json").write_text("{}")
    policy = _load("owner/name", COMMIT)
    assert policy.revision == COMMIT
    assert hub.fetched[-1] == "model.safetensors", "the weights come last"
    assert sorted(hub.fetched) == [
        "config.json", "model.safetensors", "modeling_prismatic.py", "preprocessor_config.json",
        "tokenizer.json",
    ]


@pytest.mark.parametrize("revision", [
    "main", "v0.2", "31f090d", "g" * 40, "0" * 41, "0" * 40 + "\n",
])
def test_a_hub_revision_that_is_no_commit(hub: FakeHub, revision: str) -> None:
    """A branch would hand out other weights tomorrow; nothing is fetched for one."""
    _refused("owner/name", f"revision={revision!r} is no commit", revision=revision)
    _refused("owner/name", "needs a revision", "40 hex digits")
    assert hub.fetched == []


def test_hub_failure_is_explained(hub: FakeHub) -> None:
    hub.offline = True
    _refused("owner/name", "cannot be fetched", "no route to host", revision=COMMIT)


def test_what_was_fetched_runs_offline_and_says_so(
    hub: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    online = _load("owner/name", COMMIT)
    hub.offline = True
    with caplog.at_level(logging.WARNING):
        assert _load("owner/name", COMMIT).revision == online.revision
    assert "does not list its files" in caplog.text and "fetched earlier" in caplog.text


def test_nothing_large_is_fetched_for_a_checkpoint_that_cannot_be_used(
    folder: Path, hub: FakeHub
) -> None:
    """Nor for a key that it has not: 15 GB later is late to hear it."""
    options = LoadOptions(unnorm_key="kitchen", revision=COMMIT)
    with pytest.raises(PolicyError, match="'kitchen' is not in this checkpoint"):
        load_policy("owner/name", options, progress=False)
    assert hub.fetched and "model.safetensors" not in hub.fetched
    assert _load("owner/name", COMMIT).revision == COMMIT
