# SPDX-License-Identifier: Apache-2.0
"""Random weights, launches and the device's one call, on policies small enough for a test."""

from __future__ import annotations

import argparse
import json
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.bench import device, gpu_trace, launches
from vla_infoentropy_ros.bench.launches import INSTRUCTION
from vla_infoentropy_ros.bench.random_policy import shapes
from vla_infoentropy_ros.bench.steps import load_asked, load_token_policy
from vla_infoentropy_ros.models.adapter import PolicyError
from vla_infoentropy_ros.models.load_options import add_load_arguments
from vla_infoentropy_ros.models.loading import load_policy


def test_random_shapes_are_the_published_ones_and_narrower_ones_as_deep():
    published, narrow = shapes("random:openvla-7b"), shapes("random:openvla-7b/16")
    assert (published.llama.hidden_size, published.llama.num_hidden_layers) == (4096, 32)
    assert (narrow.llama.hidden_size, narrow.llama.num_hidden_layers) == (256, 32)
    assert narrow.llama.head_dim == published.llama.head_dim == 128
    assert [tower.width for tower in narrow.towers] == [64, 72]
    assert [tower.depth for tower in narrow.towers] == [24, 27]
    assert narrow.grid == published.grid == (16, 16)


@pytest.mark.parametrize("name", ["random:openvla-7b/3", "random:pi0", "random:"])
def test_other_random_names_are_refused_in_a_sentence(name):
    with pytest.raises(PolicyError, match=r"random:openvla-7b/16"):
        shapes(name)
    parser = argparse.ArgumentParser()
    add_load_arguments(parser)
    with pytest.raises(SystemExit, match=r"error: model='random:"):
        load_asked(parser.parse_args(["--model", name]))


def test_no_robot_gets_random_weights():
    with pytest.raises(PolicyError):
        load_policy("random:openvla-7b/16")


def test_views_and_empty_memory_launch_nothing():
    a = torch.ones(4, 4)

    def run():
        b = a.view(16)[2:].unsqueeze(0).expand(2, -1).transpose(0, 1)  # views
        c = torch.empty(3)
        c.fill_(1.0)  # one
        return b + 1  # two

    with torch.inference_mode():
        counted = launches.counted(run)
    assert counted.total == 2 and counted.by_name == {"fill_": 1, "add": 1}


def test_launches_of_every_decode_are_told_apart():
    table = launches.table_of(
        TinyPolicy(), INSTRUCTION, ("dense", "dense+window", "attention_drift+window"))
    assert [row["passes"] for row in table.values()] == [7, 7, 1, 1]
    dense, window, drift = list(table.values())[1:]
    assert window["launches"] < dense["launches"] / 3
    assert window["launches"] < drift["launches"] < dense["launches"] / 2


def test_the_one_call_measures_every_variant_and_says_so_as_it_goes(capsys):
    every: dict = {}
    order = []
    words = "put the red block on the green plate"  # with which the two sums round differently
    for found in device.measured(TinyPolicy(), words, ["dense", "attention_drift"], 4):
        every |= found
        order += found
    assert order == ["roofline", "decoder_bytes", "generate", "exactness",
                     "variants", "variants", "launches"]  # two of four rounds warm up
    assert list(every["variants"]) == [
        "dense", "dense+window", "attention_drift", "attention_drift+window"]
    for row in every["variants"].values():
        assert row["steps"] == 2
        assert sum(row["stages_ms"].values()) <= row["p95_ms"]
        assert 0 < row["floor_ms"] < float("inf")
    assert every["variants"]["dense"]["fresh"] == 16
    assert every["variants"]["attention_drift+window"]["tokens_as_greedy"] == 1.0
    assert every["generate"]["same_tokens_as_dense"] == 7
    assert every["exactness"]["again_bit_for_bit"]
    assert 0 < every["exactness"]["largest_error_0_fresh"] < 1e-4
    assert "attention_drift+window" in capsys.readouterr().out


def test_shares_are_of_the_steps_that_are_counted(monkeypatch):
    compared = []
    monkeypatch.setattr(device, "as_greedy", lambda *both: compared.append([*map(len, both)]) or {})
    list(device.measured(TinyPolicy(), INSTRUCTION, ["dense"], 4))
    assert compared == [[1, 1], [2, 2]]


def test_a_budget_of_seconds_ends_the_rounds_but_not_the_tables(capsys):
    found = list(device.measured(TinyPolicy(), INSTRUCTION, ["dense"], 9, seconds=0.0))
    assert [table["variants"]["dense"]["steps"] for table in found if "variants" in table] == [1]
    assert "launches" in found[-1]
    assert "ended after 3 of 9 rounds" in capsys.readouterr().out


def test_a_run_that_is_cut_leaves_what_it_had(monkeypatch, tmp_path):
    out = tmp_path / "device.json"
    monkeypatch.setattr(device, "load_token_policy", lambda options: TinyPolicy())

    def cut(policy, instruction, names):
        raise KeyboardInterrupt

    monkeypatch.setattr(device, "table_of", cut)
    with pytest.raises(KeyboardInterrupt):
        device.main(["--frames", "3", "--selectors", "dense", "--out", str(out)])
    left = json.loads(out.read_text())
    assert left["variants"]["dense"]["steps"] == 1 and "launches" not in left


def test_the_embedded_policy_takes_the_instruction_and_another_is_refused_at_once(monkeypatch):
    parser = argparse.ArgumentParser()
    launches.add_policy_arguments(parser)
    embedded = ["--model", "embedded"]
    assert load_token_policy(parser.parse_args(embedded)).name
    measured = []
    monkeypatch.setattr(device, "measured", lambda *given: measured.append(given) or [])
    with pytest.raises(SystemExit, match=r"error: --instruction: .*does not know \['block'\]"):
        device.main([*embedded, "--instruction", "put the red block on the white plate"])
    assert not measured
    device.main([*embedded, "--instruction", "put the blue cube on the white plate"])
    assert measured[0][1] == "put the blue cube on the white plate"


def test_what_a_gpu_did_is_told_from_what_the_host_did():
    def event(kind, us):
        return SimpleNamespace(device_type=kind, time_range=SimpleNamespace(elapsed_us=lambda: us))

    events = [event(DeviceType.CPU, 900), event(DeviceType.CUDA, 250), event(DeviceType.CUDA, 750)]
    assert gpu_trace.busy(events) == {"kernels": 2, "gpu_busy_ms": 1.0}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_host_waits_name_the_line():
    held = torch.ones(3, device="cuda")
    waits = gpu_trace.host_waits(lambda: held.sum().item())
    assert list(waits.values()) == [1] and next(iter(waits)).startswith("test_device.py:")
