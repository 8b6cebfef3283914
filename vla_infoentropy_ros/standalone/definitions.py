# SPDX-License-Identifier: Apache-2.0
"""Types that the type store of rosbags lacks, as definition text: services, actions, few messages.

Field names, types and order are what goes over the wire, so they are the same as in the ROS 2
packages of these names.
"""

from __future__ import annotations

_NAMES = "string[] names\n"
_SET_RESULTS = "rcl_interfaces/SetParametersResult"
_TRANSITIONS = "lifecycle_msgs/TransitionDescription[] available_transitions\n"
_GRIPPER_STATE = "float64 position\nfloat64 effort\nbool stalled\nbool reached_goal\n"

# Messages that the type store lacks
MESSAGES: dict[str, str] = {
    "control_msgs/msg/GripperCommand": "float64 position\nfloat64 max_effort\n",
}

# Services, as (request, response)
SERVICES: dict[str, tuple[str, str]] = {
    "std_srvs/srv/Empty": ("", ""),
    "std_srvs/srv/SetBool": ("bool data\n", "bool success\nstring message\n"),
    "std_srvs/srv/Trigger": ("", "bool success\nstring message\n"),
    "rcl_interfaces/srv/DescribeParameters": (
        _NAMES,
        "rcl_interfaces/ParameterDescriptor[] descriptors\n",
    ),
    "rcl_interfaces/srv/GetParameterTypes": (_NAMES, "uint8[] types\n"),
    "rcl_interfaces/srv/GetParameters": (_NAMES, "rcl_interfaces/ParameterValue[] values\n"),
    "rcl_interfaces/srv/ListParameters": (
        "uint64 DEPTH_RECURSIVE=0\nstring[] prefixes\nuint64 depth\n",
        "rcl_interfaces/ListParametersResult result\n",
    ),
    "rcl_interfaces/srv/SetParameters": (
        "rcl_interfaces/Parameter[] parameters\n",
        f"{_SET_RESULTS}[] results\n",
    ),
    "rcl_interfaces/srv/SetParametersAtomically": (
        "rcl_interfaces/Parameter[] parameters\n",
        f"{_SET_RESULTS} result\n",
    ),
    "lifecycle_msgs/srv/ChangeState": (
        "lifecycle_msgs/Transition transition\n",
        "bool success\n",
    ),
    "lifecycle_msgs/srv/GetState": ("", "lifecycle_msgs/State current_state\n"),
    "lifecycle_msgs/srv/GetAvailableStates": (
        "",
        "lifecycle_msgs/State[] available_states\n",
    ),
    "lifecycle_msgs/srv/GetAvailableTransitions": ("", _TRANSITIONS),
    "action_msgs/srv/CancelGoal": (
        "action_msgs/GoalInfo goal_info\n",
        "int8 ERROR_NONE=0\nint8 ERROR_REJECTED=1\nint8 ERROR_UNKNOWN_GOAL_ID=2\n"
        "int8 ERROR_GOAL_TERMINATED=3\nint8 return_code\n"
        "action_msgs/GoalInfo[] goals_canceling\n",
    ),
    "example_interfaces/srv/AddTwoInts": ("int64 a\nint64 b\n", "int64 sum\n"),
}

# Actions, as (goal, result, feedback)
ACTIONS: dict[str, tuple[str, str, str]] = {
    "control_msgs/action/GripperCommand": (
        "control_msgs/GripperCommand command\n",
        _GRIPPER_STATE,
        _GRIPPER_STATE,
    ),
    "example_interfaces/action/Fibonacci": (
        "int32 order\n",
        "int32[] sequence\n",
        "int32[] sequence\n",
    ),
}
