# SPDX-License-Identifier: Apache-2.0
"""What is told of a step, as plain values by the names of our messages' fields.

Every skin puts them into messages of its own make. Times are nanoseconds here, under the name of
the field; a header is (stamp, frame_id). Flat arrays are numpy's, of the field's type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_infoentropy_ros.driving.driver import Step
from vla_infoentropy_ros.driving.intake import Frame
from vla_infoentropy_ros.session import StepResult

Values = dict[str, Any]


def action_values(step: Step, convention: Any, frame_id: str) -> Values:
    """VlaAction but its sequence. convention: `models.adapter.ActionConvention`. frame_id: of the
    frame in which the action is given."""
    action, frame, issued = step.result.action, step.frame, step.issued
    return {
        "header": (step.stamp_ns, frame_id),
        "observation_stamp": frame.stamp_ns,
        "observation_age": max(0, step.stamp_ns - frame.stamp_ns),
        "step": step.result.t,
        "instruction": step.instruction,
        "frame_convention": convention.frame,
        "rotation_convention": convention.rotation,
        "gripper_convention": convention.gripper,
        "control_period": float(convention.control_period_s),
        "values": np.asarray(action.values, dtype=np.float64),
        "chunk": np.asarray(action.chunk, dtype=np.float64).ravel(),
        "row": issued.row,
        "normalised": np.asarray(action.normalised, dtype=np.float64),
        "token_ids": np.asarray(action.token_ids, dtype=np.int32),
        "command": np.asarray(issued.command.twist, dtype=np.float64),
        "gripper_opening": float(issued.command.gripper or 0.0),
        "limited": bool(issued.limited),
        "dry_run": issued.dry_run,
    }


def selection_values(frame: Frame, result: StepResult, policy: Any, names: tuple[str, str]
                     ) -> Values:
    """TokenSelection. names: (selector, schedule)."""
    report = result.report
    return {
        "header": (frame.stamp_ns, frame.frame_id),
        "step": result.t,
        "selector": names[0],
        "schedule": names[1],
        "alpha": float(report.alpha),
        "k_visual": int(report.k_visual),
        "k_attention": int(report.k_attention),
        "views": policy.views,
        "rows": policy.grid[0],
        "cols": policy.grid[1],
        "reasons": report.reasons.astype(np.uint8),
        "image_entropy": report.image_entropy.astype(np.float32),
        "attention_information": report.attention_information.astype(np.float32),
        "attention_mass": report.attention_mass.astype(np.float32),
        "drift": report.drift.astype(np.float32),
        "ages": report.ages.astype(np.uint16),
        "fresh": report.fresh,
        "reused": report.reused,
        "pruned": report.pruned,
    }


def step_values(result: StepResult) -> Values:
    """The figures of one step in InferenceStatus."""
    return {
        "steps": result.t + 1,
        "invalidated": result.invalidated,
        "reuse_ratio": float(result.report.reuse_ratio),
        "latency_ms": float(result.latency_ms),
        **{f"{stage}_ms": float(ms) for stage, ms in result.stages_ms.items()},
        "decoder_passes": result.decoder_passes,
        "flops": int(result.flops),
        "macs": int(result.macs),
    }
