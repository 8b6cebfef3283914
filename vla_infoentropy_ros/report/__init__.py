# SPDX-License-Identifier: Apache-2.0
"""What a run looked like: statistics, charts, overlay pictures and the HTML report. No ROS."""
