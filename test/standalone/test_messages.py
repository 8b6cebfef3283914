# SPDX-License-Identifier: Apache-2.0
"""Message classes and their serialisation, with rosbags as an independent judge."""

from __future__ import annotations

import array
import importlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import get_types_from_msg

from vla_infoentropy_ros.standalone.cdr import PRIMITIVES, CdrError
from vla_infoentropy_ros.standalone.messages import (
    deserialize,
    message_class,
    serialize,
    service_class,
    type_name,
)
from vla_infoentropy_ros.standalone.typestore import (
    ARRAY,
    SCALAR,
    FieldType,
    TypeNotFoundError,
    registry,
)

NAMES = [
    "std_msgs/msg/Header",
    "std_msgs/msg/Empty",
    "std_msgs/msg/ByteMultiArray",
    "std_msgs/msg/Char",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/JointState",
    "sensor_msgs/msg/PointCloud2",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TwistStamped",
    "trajectory_msgs/msg/JointTrajectory",
    "diagnostic_msgs/msg/DiagnosticArray",
    "rcl_interfaces/msg/ParameterDescriptor",
    "rcl_interfaces/msg/ParameterEvent",
    "rcl_interfaces/msg/Log",
    "lifecycle_msgs/msg/TransitionEvent",
    "rmw_dds_common/msg/ParticipantEntitiesInfo",
    *(f"vla_infoentropy_ros/msg/{name}" for name in registry().names("vla_infoentropy_ros", "msg")),
]

INTEGERS = {
    name: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if name[0] == "i" else (0, 2**bits - 1)
    for bits in (8, 16, 32, 64)
    for name in (f"int{bits}", f"uint{bits}")
}
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


def element(field: FieldType) -> st.SearchStrategy[Any]:
    """Values of one element of a field."""
    if field.is_message:
        return messages(field.base)
    if field.base == "string":
        return TEXT.map(lambda text: text[: field.string_bound or None])
    if field.base == "bool":
        return st.booleans()
    if field.base == "byte":
        return st.binary(min_size=1, max_size=1)
    if field.base == "float32":
        # ROS refuses the very largest, which its limit of 3.402823466e38 does not reach.
        return st.floats(-(2.0**120), 2.0**120, width=32)
    if field.base == "float64":
        return st.floats(allow_nan=False)
    low, high = INTEGERS["uint8" if field.base == "char" else field.base]
    return st.integers(low, high)


def value(field: FieldType) -> st.SearchStrategy[Any]:
    """Values of a field."""
    if field.kind == SCALAR:
        return element(field)
    exact = field.size if field.kind == ARRAY else None
    size = exact if exact is not None else min(field.size or 3, 3)
    return st.lists(element(field), min_size=exact or 0, max_size=size)


@st.composite
def messages(draw: Any, name: str) -> Any:
    """Messages of a type."""
    spec = registry().spec(name)
    return message_class(name)(**{label: draw(value(field)) for label, field in spec.fields})


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(data=st.data())
def test_round_trip_and_rosbags_agree(name: str, data: Any) -> None:
    message = data.draw(messages(name))
    packed = serialize(message)
    assert len(packed) % 4 == 0
    assert deserialize(packed, message_class(name)) == message
    store = registry().store
    judged = store.deserialize_cdr(packed, name)
    again = bytes(store.serialize_cdr(judged, name))
    assert packed[: len(again)] == again
    assert not any(packed[len(again) :])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(data=st.data())
def test_broken_bytes_give_one_kind_of_error(name: str, data: Any) -> None:
    packed = bytearray(serialize(data.draw(messages(name))))
    cut = data.draw(st.integers(0, len(packed)))
    packed = packed[:cut]
    if packed:
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        deserialize(bytes(packed), message_class(name))
    except CdrError as error:
        assert name in str(error) or "end of the message" in str(error)


def test_every_known_type_can_be_built() -> None:
    for name in registry().store.fielddefs:
        fields = registry().spec(name).fields
        if all(
            kind.base in PRIMITIVES or kind.is_message or kind.base == "string"
            for _, kind in fields
        ):
            cls = message_class(name)
            assert deserialize(serialize(cls()), cls) == cls()


class TestFields:
    def test_defaults(self) -> None:
        assert message_class("geometry_msgs/msg/Quaternion")().w == 1.0
        pose = message_class("geometry_msgs/msg/PoseStamped")()
        assert (pose.pose.orientation.w, pose.header.frame_id) == (1.0, "")
        assert pose.header is not message_class("geometry_msgs/msg/PoseStamped")().header

    def test_defaults_and_constants_of_a_definition(self) -> None:
        text = (
            'uint8 RED=1\nstring NAME = "x y"\nbyte B=2\n'
            'float64 rate 2.5 # Hz\nint32[] list [1, 2]\nstring mode "auto"\nbool on true\n'
        )
        registry()._add_text("test_msgs/msg/Defaults", text)
        assert get_types_from_msg(text, "test_msgs/msg/Defaults")
        cls = message_class("test_msgs/msg/Defaults")
        assert (cls.RED, cls.NAME, cls.B) == (1, "x y", b"\x02")
        built = cls()
        assert (built.rate, list(built.list), built.mode, built.on) == (2.5, [1, 2], "auto", True)
        built.list.append(3)
        assert list(cls().list) == [1, 2]

    @pytest.mark.parametrize(
        ("name", "field", "wrong"),
        [
            ("std_msgs/msg/String", "data", b"bytes"),
            ("std_msgs/msg/Bool", "data", 1),
            ("std_msgs/msg/Int32", "data", 1.0),
            ("std_msgs/msg/Int32", "data", 2**31),
            ("std_msgs/msg/UInt8", "data", -1),
            ("std_msgs/msg/UInt8", "data", np.uint8(1)),
            ("std_msgs/msg/Float64", "data", 1),
            ("std_msgs/msg/Float32", "data", 1e39),
            ("std_msgs/msg/Float32", "data", np.float32(1)),
            ("std_msgs/msg/Byte", "data", b"ab"),
            ("std_msgs/msg/Header", "stamp", "now"),
            ("sensor_msgs/msg/Image", "data", np.zeros(3, np.uint8)),
            ("sensor_msgs/msg/Image", "data", array.array("b", [1])),
            ("sensor_msgs/msg/Image", "data", [256]),
            ("sensor_msgs/msg/Image", "data", "text"),
            ("sensor_msgs/msg/JointState", "name", ["a", 1]),
            ("sensor_msgs/msg/JointState", "position", [1]),
            ("sensor_msgs/msg/CameraInfo", "k", [0.0] * 8),
            ("sensor_msgs/msg/CameraInfo", "k", np.zeros(9, np.float32)),
            ("sensor_msgs/msg/CameraInfo", "k", np.zeros(8)),
            ("rcl_interfaces/msg/ParameterDescriptor", "integer_range", [None]),
        ],
    )
    def test_wrong_values_are_refused(self, name: str, field: str, wrong: Any) -> None:
        cls = message_class(name)
        with pytest.raises(AssertionError, match=f"'{field}'"):
            cls(**{field: wrong})
        message = cls()
        with pytest.raises(AssertionError, match=f"'{field}'"):
            setattr(message, field, wrong)

    def test_right_values_are_stored_as_ros_does(self) -> None:
        image = message_class("sensor_msgs/msg/Image")(data=b"\x01\x02")
        assert image.data == array.array("B", [1, 2])
        image.data = [3, 4]
        assert isinstance(image.data, array.array)
        own = array.array("B", [5])
        image.data = own
        assert image.data is own
        info = message_class("sensor_msgs/msg/CameraInfo")(k=[1.0] * 9, d=(0.1, 0.2))
        assert isinstance(info.k, np.ndarray)
        assert info.d == array.array("d", [0.1, 0.2])
        number = message_class("std_msgs/msg/Float64")(data=np.float64(2.0))
        assert number.data == 2.0
        assert math.isnan(message_class("std_msgs/msg/Float32")(data=math.nan).data)

    def test_bounds(self) -> None:
        cls = message_class("rcl_interfaces/msg/ParameterDescriptor")
        limits = message_class("rcl_interfaces/msg/IntegerRange")
        with pytest.raises(AssertionError, match="length <= 1"):
            cls(integer_range=[limits(), limits()])
        node = message_class("rmw_dds_common/msg/NodeEntitiesInfo")
        with pytest.raises(AssertionError, match="not longer than 256"):
            node(node_name="x" * 257)

    def test_unknown_fields(self) -> None:
        with pytest.raises(AssertionError, match=r"colour.*frame_id"):
            message_class("std_msgs/msg/Header")(colour=1)
        with pytest.raises(AttributeError):
            message_class("std_msgs/msg/Header")().colour = 1

    def test_field_types(self) -> None:
        cls = message_class("rcl_interfaces/msg/ParameterDescriptor")
        assert cls.get_fields_and_field_types()["integer_range"] == (
            "sequence<rcl_interfaces/IntegerRange, 1>"
        )
        status = message_class("diagnostic_msgs/msg/DiagnosticStatus")
        assert status.get_fields_and_field_types()["level"] == "octet"
        array_type = message_class("std_msgs/msg/ByteMultiArray").get_fields_and_field_types()
        assert array_type["data"] == "sequence<octet>"


class TestImports:
    def test_modules(self) -> None:
        module = importlib.import_module("sensor_msgs.msg")
        assert module.Image is message_class("sensor_msgs/msg/Image")
        assert "JointState" in dir(module)
        services = importlib.import_module("std_srvs.srv")
        assert services.SetBool is service_class("std_srvs/srv/SetBool")
        assert services.SetBool.Request(data=True).data is True
        own = importlib.import_module("vla_infoentropy_ros.msg")
        assert type_name(own.VlaAction) == "vla_infoentropy_ros/msg/VlaAction"

    def test_what_does_not_exist(self) -> None:
        with pytest.raises(ImportError, match="Picture"):
            exec("from sensor_msgs.msg import Picture")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("sensor_msgs.srv")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("no_such_msgs.msg")
        with pytest.raises(TypeNotFoundError, match=r"Known packages: .*std_msgs"):
            message_class("nowhere/msg/Nothing")
        with pytest.raises(TypeError, match="not a ROS message"):
            type_name(int)

    def test_type_hash(self) -> None:
        # As published by ROS 2 Jazzy for this type.
        assert registry().type_hash("std_msgs/msg/String") == (
            "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
        )
