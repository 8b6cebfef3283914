# SPDX-License-Identifier: Apache-2.0
"""The other ends: what meets our nodes in the demo and in measurements.

A client knows the graph; what its messages mean to a report is the business of who uses it.
"""
