# SPDX-License-Identifier: Apache-2.0
"""OpenVLA-7B and its fine-tunes: native module, loader, policy adapter."""

from vla_infoentropy_ros.models.openvla.policy import OpenVLAPolicy, load_openvla

__all__ = ["OpenVLAPolicy", "load_openvla"]
