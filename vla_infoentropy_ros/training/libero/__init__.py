# SPDX-License-Identifier: Apache-2.0
"""From collected shards to a policy for LIBERO."""
