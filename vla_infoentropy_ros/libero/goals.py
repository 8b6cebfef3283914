# SPDX-License-Identifier: Apache-2.0
"""Which of the benchmark's instructions are true of a world, beyond the task's own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """``what`` and ``where``: names of bodies."""

    instruction: str
    what: str
    where: str


def goals_of(suite: Any, task: int, objects: list[str]) -> tuple[Goal, ...]:
    """The task's own goal first, then every other of the suite's that this world could ask for.

    In Object every thing beside the basket has an instruction of its own; in Spatial the second
    bowl stands where another task's first bowl does, and that task's words describe it.
    """
    own = suite.get_task(task)
    problem = _problem(own)
    what, where = problem["obj_of_interest"][:2]
    goals = [Goal(own.language, what, where)]
    known = {suite.get_task(index).language for index in range(suite.n_tasks)}
    for name in sorted(set(objects) - {what, where}):
        words = re.sub(r"_\d+$", "", name).replace("_", " ")
        for said in (f"pick up the {words} and place it in the basket",
                     _language_of_place(suite, _place(problem, name))):
            if said and said in known and said != own.language:
                goals.append(Goal(said, name, where))
    return tuple(goals)


def _language_of_place(suite: Any, place: str | None) -> str | None:
    for index in range(suite.n_tasks):
        task = suite.get_task(index)
        problem = _problem(task)
        what = problem["obj_of_interest"][0]
        if place is not None and "bowl" in what and _place(problem, what) == place:
            return str(task.language)
    return None


def _place(problem: dict[str, Any], name: str) -> str | None:
    """The region in which ``name`` starts."""
    if "bowl" not in name:
        return None
    places = [state[2] for state in problem["initial_state"] if state[1] == name]
    return str(places[0]) if places else None


def _problem(task: Any) -> dict[str, Any]:
    from libero.libero import get_libero_path
    from libero.libero.envs import bddl_utils

    file = os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
    problem: dict[str, Any] = bddl_utils.robosuite_parse_problem(file)
    return problem
