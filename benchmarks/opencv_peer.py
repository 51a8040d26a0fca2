"""OpenCV contrib as a peer, in an environment of its own that is made at first use."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.race import Timed
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".bench-opencv"
# The release that constraints.txt names for the OpenCV beside it.
REQUIREMENTS = ("opencv-contrib-python-headless==5.0.0.93", "numpy==2.4.6")
INSTALL_SECONDS = 300


class OpenCvError(RuntimeError):
    """Why there is no OpenCV to compare with."""


class OpenCv:
    """A running server (see `opencv_server.py`).

    Raises
    ------
    OpenCvError
        If the environment cannot be made, say without a network.
    """

    def __init__(self) -> None:
        python = _environment()
        self._pictures = tempfile.TemporaryDirectory()
        self._paths: dict[int, tuple[NDArray[Any], str]] = {}
        command = [str(python), str(Path(__file__).with_name("opencv_server.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        about = self._answer()
        self.version: str = about["version"]
        self.threads: int = about["threads"]

    def slic(self, image: NDArray[np.float32], n_segments: int, *, zero: bool, iterations: int = 10) -> Timed:
        """SLIC, or SLICO with ``zero``, on a picture in [0, 1]; the picture travels only once.

        Returns
        -------
        Timed
            The server's own seconds, without the pipe; the result is the number of clusters.
        """
        request = {
            "picture": self._path(image),
            "algorithm": "SLICO" if zero else "SLIC",
            "region_size": round((image.shape[0] * image.shape[1] / n_segments) ** 0.5),
            "ruler": 10.0,
            "iterations": iterations,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return Timed(answer["seconds"], answer["clusters"], answer["cores"])

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._pictures.cleanup()

    def _path(self, image: NDArray[np.float32]) -> str:
        if id(image) not in self._paths:
            path = Path(self._pictures.name) / f"{len(self._paths)}.npy"
            np.save(path, image)
            self._paths[id(image)] = (image, str(path))
        return self._paths[id(image)][1]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OpenCvError("OpenCV ended without an answer")
        return json.loads(line)


def _environment() -> Path:
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / ".installed"
    wanted = " ".join(REQUIREMENTS)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--disable-pip-version-check"]
    try:
        for command in (
            [sys.executable, "-m", "venv", "--clear", "--without-pip", str(ENVIRONMENT)],
            [*pip, "--quiet", "--only-binary=:all:", *REQUIREMENTS],
        ):
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise OpenCvError(f"{REQUIREMENTS[0]} could not be installed (it needs a network once)") from error
    stamp.write_text(wanted, encoding="utf-8")
    return python
