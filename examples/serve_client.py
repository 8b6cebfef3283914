# SPDX-License-Identifier: Apache-2.0
"""A client of `serve`, with nothing of this package: pictures and words in, actions out.

    python -m vla_infoentropy_ros serve --protocol openvla --port 8000 &
    python serve_client.py http://127.0.0.1:8000 "put the red cube on the white plate" a.png b.png
"""

import base64
import http.client
import json
import os
import sys
import urllib.error
import urllib.request

try:
    import numpy as np
    from PIL import Image
except ModuleNotFoundError:
    sys.exit("this needs two Python packages: pip install numpy pillow")

SESSION = "robot-1"  # requests of one name share a cache; begin each episode with /reset


def ask(address, path, body):
    """The reply of POST /path, or the end with the server's sentence."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("VLA_INFOENTROPY_TOKEN"):  # what a server beyond this host wants
        headers["Authorization"] = f"Bearer {token}"
    where, data = f"{address}{path}?session={SESSION}", json.dumps(body).encode()
    try:
        request = urllib.request.Request(where, data, headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())
    except urllib.error.HTTPError as error:
        sys.exit(f"refused: {error.read().decode()}")
    except (OSError, http.client.HTTPException) as error:  # it ended, or never began
        sys.exit(f"no answer from {address}: {error}; start one with serve")


def packed(picture):
    """An array as json_numpy writes it; picture: (h, w, 3) uint8 RGB of any size."""
    data = base64.b64encode(picture.tobytes()).decode()
    return {"__numpy__": data, "dtype": picture.dtype.str, "shape": picture.shape}


def unpacked(array):
    values = np.frombuffer(base64.b64decode(array["__numpy__"]), array["dtype"])
    return values.reshape(array["shape"])


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: serve_client.py ADDRESS INSTRUCTION PICTURE...")
    address, instruction, *files = sys.argv[1:]
    try:
        pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    except OSError as error:
        sys.exit(f"no picture: {error}")
    ask(address, "/reset", {})
    for file, picture in zip(files, pictures, strict=True):
        reply = ask(address, "/act", {"image": packed(picture), "instruction": instruction})
        print(file, np.round(unpacked(reply), 4).tolist())  # m, m, m, rad, rad, rad, 1 = open
