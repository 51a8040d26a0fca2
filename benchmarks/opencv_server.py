"""OpenCV's superpixels behind a pipe: reads one JSON request per line, answers each with one line.

Runs in an environment of its own, because opencv-contrib cannot be installed beside another OpenCV.
"""

from __future__ import annotations

import json
import sys
import time
from functools import cache

import cv2
import numpy as np


@cache
def picture(path: str) -> np.ndarray:
    """The picture as OpenCV's own functions take it: bytes, blue first."""
    values = np.round(np.load(path) * 255).astype(np.uint8)
    return np.ascontiguousarray(values[..., ::-1]) if values.ndim == 3 else values


def superpixels(
    image: np.ndarray, algorithm: str, region_size: int, ruler: float, iterations: int
) -> np.ndarray:
    """Conversion to Lab included, as it is in the other ways."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2Lab)
    found = cv2.ximgproc.createSuperpixelSLIC(image, getattr(cv2.ximgproc, algorithm), region_size, ruler)
    found.iterate(iterations)
    found.enforceLabelConnectivity(50)
    return found.getLabels()


def main() -> None:
    """Answer until the pipe is closed."""
    print(json.dumps({"version": cv2.__version__, "threads": cv2.getNumThreads()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        image = picture(request.pop("picture"))
        busy, start = time.process_time(), time.perf_counter()
        labels = superpixels(image, **request)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        answer = {"seconds": seconds, "cores": busy / seconds, "clusters": len(np.unique(labels))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
