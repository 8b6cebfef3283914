# SPDX-License-Identifier: Apache-2.0
"""What acts: policies behind one adapter."""
