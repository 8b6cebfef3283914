# SPDX-License-Identifier: Apache-2.0
# ROS generates a package of this name too, with `msg` and `action`. From a source tree both are
# seen as one: this folder first, then the generated one, wherever it is on the path.
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
