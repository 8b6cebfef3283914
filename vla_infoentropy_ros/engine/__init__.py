# SPDX-License-Identifier: Apache-2.0
"""How a step runs: slot cache, token plan, partial forward, attention probe, heads."""
