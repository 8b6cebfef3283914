# SPDX-License-Identifier: Apache-2.0
"""Random weights, launches and the device's one call, on policies small enough for a test."""

from __future__ import annotations

import argparse

import pytest
import torch

from test.tiny_policy import TinyPolicy
from vla_infoentropy_ros.bench import device, launches
from vla_infoentropy_ros.bench.random_policy import shapes
from vla_infoentropy_ros.bench.steps import load_asked
from vla_infoentropy_ros.models.adapter import PolicyError
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
    with pytest.raises(SystemExit, match=r"error: model='random:"):
        load_asked(argparse.Namespace(
            model=name, device="cpu", dtype="float32", unnorm_key="", revision="", gripper="",
            rotation="", trained_rotation="", action_units="", crop="", image_rotation="",
            control_period_s=0.0))


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
    table = launches.table_of(TinyPolicy(), ("dense", "dense+window", "attention_drift+window"))
    assert [row["passes"] for row in table.values()] == [7, 7, 1, 1]
    dense, window, drift = list(table.values())[1:]
    assert window["launches"] < dense["launches"] / 3
    assert window["launches"] < drift["launches"] < dense["launches"] / 2


def test_the_one_call_measures_every_variant():
    tables = device.measured(TinyPolicy(), ["dense", "attention_drift"], 3)
    assert list(tables["variants"]) == [
        "dense", "dense+window", "attention_drift", "attention_drift+window"]
    for row in tables["variants"].values():
        assert row["p50_ms"] > 0 and 0 < row["floor_ms"] < float("inf")
    assert tables["variants"]["attention_drift+window"]["tokens_as_greedy"] == 1.0
    assert tables["exactness"]["again_bit_for_bit"]
    assert 0 < tables["exactness"]["largest_error_0_fresh"] < 1e-4
    assert tables["peak_memory_bytes"] is None
