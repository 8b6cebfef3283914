# SPDX-License-Identifier: Apache-2.0
"""From nothing to the embedded policy: collection, losses, stages, evaluation."""
