# SPDX-License-Identifier: Apache-2.0
"""Conversions."""

S_TO_NS = 1000 * 1000 * 1000
