# SPDX-License-Identifier: Apache-2.0
"""What others wrote: their texts, files and pictures, before anything believes them."""
