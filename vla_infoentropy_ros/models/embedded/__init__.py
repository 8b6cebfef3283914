# SPDX-License-Identifier: Apache-2.0
"""The embedded policy, its tokenizer and its weights."""

from vla_infoentropy_ros.models.embedded.config import Architecture, PolicyConfig
from vla_infoentropy_ros.models.embedded.policy import EmbeddedPolicy
from vla_infoentropy_ros.models.embedded.tokenizer import WordTokenizer

__all__ = ["Architecture", "EmbeddedPolicy", "PolicyConfig", "WordTokenizer"]
