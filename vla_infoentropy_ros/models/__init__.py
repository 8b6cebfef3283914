# SPDX-License-Identifier: Apache-2.0
"""What acts: policies behind one adapter."""

from vla_infoentropy_ros.engine.requirements import check_transformers

check_transformers()  # before any module here imports names that other releases lack
