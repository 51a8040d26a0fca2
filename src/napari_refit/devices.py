"""Which device computes: one answer for every stage, without torch where only the processor can be meant."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Notice = Callable[[str], None]


def check_device(device: Any) -> None:
    """Check that ``device`` names a torch device, whether or not this machine has it.

    Parameters
    ----------
    device : None, str or torch.device
        ``None`` and ``"cpu"`` are accepted without importing torch.

    Raises
    ------
    TypeError
        If it is neither None, text nor a torch device.
    ValueError
        If torch knows no such device.

    Examples
    --------
    >>> check_device("cpu")
    >>> check_device("toaster")
    Traceback (most recent call last):
    ...
    ValueError: unknown device 'toaster'; use None, 'cpu', 'cuda', 'cuda:0', 'mps', ...
    """
    if device is None or (isinstance(device, str) and device == "cpu"):
        return
    import torch

    if isinstance(device, torch.device):
        return
    if not isinstance(device, str):
        raise TypeError(f"device must be None, a text or a torch.device, got {device!r}")
    try:
        torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"unknown device {device!r}; use None, 'cpu', 'cuda', 'cuda:0', 'mps', ..."
        ) from None


def on_processor(device: Any) -> bool:
    """Whether compiled loops on the processor are wanted: for None and any form of ``"cpu"``.

    Raises
    ------
    TypeError, ValueError
        As `check_device`.

    Examples
    --------
    >>> on_processor(None), on_processor("cpu"), on_processor("cuda:0")
    (True, True, False)
    """
    check_device(device)
    return device is None or str(device).partition(":")[0] == "cpu"


def fastest() -> torch.device:
    """The first CUDA device, else MPS, else the processor."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def torch_device(device: Any = None) -> torch.device:
    """The device to compute on.

    Parameters
    ----------
    device : None, str or torch.device
        None is the fastest there is.

    Raises
    ------
    TypeError
        If ``device`` is no device.
    ValueError
        If torch does not know it, or it cannot be used on this machine.

    Examples
    --------
    >>> torch_device("cpu")
    device(type='cpu')
    """
    check_device(device)
    import torch

    if device is None:
        return fastest()
    wanted = torch.device(device)
    try:
        torch.empty(1, device=wanted)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"device {str(wanted)!r} cannot be used here ({reason}); use 'cpu'") from error
    return wanted


def uploaded(array: NDArray[Any] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy an array to a device.

    Parameters
    ----------
    array : ndarray or tensor
        Of a dtype that torch has; it may be read-only, which torch warns of though nothing is written.
    device : torch.device

    Returns
    -------
    tensor
        The array's own memory where the device is the processor: not to be written to.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> uploaded(np.broadcast_to(1.0, 3)[::-1], torch.device("cpu")).tolist()
    [1.0, 1.0, 1.0]
    """
    import torch

    if isinstance(array, torch.Tensor):
        return array.to(device)
    if min(array.strides, default=0) < 0 or not array.dtype.isnative:
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable")
        return torch.from_numpy(array).to(device)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whichever device.

    Examples
    --------
    >>> out_of_memory(MemoryError()), out_of_memory(ValueError("unknown"))
    (True, False)
    """
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "not enough memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(sign in text for sign in signs)
    )


def say(notice: Notice | None, text: str) -> None:
    """Tell the user that a device gave up.

    Parameters
    ----------
    notice : callable or None
        Shows a sentence where the user looks; None: a `RuntimeWarning`.
    text : str

    Examples
    --------
    >>> say(print, "cuda ran out of memory")
    cuda ran out of memory
    """
    if notice is not None:
        notice(text)
    else:
        warnings.warn(text, RuntimeWarning, stacklevel=3)
