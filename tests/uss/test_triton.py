"""Triton's kernels without a graphics card: interpreted on the processor, in a process of their own.

Whether triton interprets is settled when it is imported, and where Mesa's LLVM draws it cannot be imported at all.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_refit.uss import llvm


@pytest.fixture(scope="module")
def agreements() -> dict[str, float]:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed: torch comes without it here")
    script = Path(__file__).with_name("triton_cases.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_kernels_agree_with_the_processor_and_scikit_image(agreements: dict[str, float]) -> None:
    assert len(agreements) >= 13
    assert {name: found for name, found in agreements.items() if found < 0.99} == {}


def test_triton_is_asked_only_where_it_may_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(llvm, "_triton_compiles", lambda device: True)
    assert not llvm.triton_runs(torch.device("cpu"))
    # Kept out, as the docks do it.
    monkeypatch.setitem(sys.modules, "triton", None)
    assert not llvm.triton_runs(cuda)
    monkeypatch.delitem(sys.modules, "triton")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(llvm, "draws_with_llvm", lambda: True)
    assert not llvm.triton_runs(cuda)
    monkeypatch.setattr(llvm, "draws_with_llvm", lambda: False)
    assert llvm.triton_runs(cuda)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not llvm.triton_runs(cuda)


def test_where_triton_cannot_compile_a_warning_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    # The import itself fails here.
    monkeypatch.setitem(sys.modules, "napari_refit.uss.trial_triton", None)
    llvm._triton_compiles.cache_clear()
    with pytest.warns(UserWarning, match="triton cannot be used here"):
        assert not llvm._triton_compiles("cuda")
    llvm._triton_compiles.cache_clear()
