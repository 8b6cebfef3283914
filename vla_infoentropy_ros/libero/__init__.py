# SPDX-License-Identifier: Apache-2.0
"""LIBERO from privileged state: worlds, expert, collection.

Runs in the simulator's own environment (MuJoCo 2.3.7, numpy 1.26), so nothing here imports torch
or anything else of the package that needs it.
"""
