# SPDX-License-Identifier: Apache-2.0
"""Parts that are not public interface."""
