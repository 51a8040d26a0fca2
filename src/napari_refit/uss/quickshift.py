"""Quickshift: clusters by mode seeking."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from napari_refit.bands import Stop, check, run_bands
from napari_refit.devices import on_processor, torch_device
from napari_refit.uss.checks import real_array

if TYPE_CHECKING:
    import torch

Tree = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]


@dataclass(frozen=True)
class QuickshiftTree:
    """The links of Quickshift before the long ones are cut.

    Attributes
    ----------
    parents : ndarray of int, (H, W)
        Place in the flat image of each pixel's nearest denser pixel; its own where the window holds none.
    distances : ndarray of float, (H, W)
        To the parent, over colour and place. Where there is none, the root of the largest number (in single
        precision: infinity), as in scikit-image.
    """

    parents: NDArray[np.integer]
    distances: NDArray[np.floating]

    def cut(self, max_dist: float) -> NDArray[np.int64]:
        """Cut the links longer than ``max_dist``.

        Parameters
        ----------
        max_dist : float

        Returns
        -------
        ndarray of int64, (H, W)
            Cluster numbers from 0, in the order of the clusters' densest pixels.

        Examples
        --------
        >>> import numpy as np
        >>> tree = QuickshiftTree(np.array([[1, 1, 3, 4, 4]]), np.array([[2.0, 1e9, 2.0, 7.0, 1e9]]))
        >>> tree.cut(5), tree.cut(10)
        (array([[0, 0, 1, 1, 2]]), array([[0, 0, 1, 1, 1]]))
        """
        from napari_refit.uss.quickshift_processor import cut_tree

        return cut_tree(self.parents, self.distances, max_dist)


@overload
def quickshift(
    image: Any,
    ratio: float = ...,
    kernel_size: float = ...,
    max_dist: float = ...,
    return_tree: Literal[False] = ...,
    sigma: float = ...,
    convert2lab: bool = ...,
    rng: Any = ...,
    *,
    channel_axis: int = ...,
    device: Any = ...,
) -> NDArray[np.int64]: ...
@overload
def quickshift(
    image: Any,
    ratio: float = ...,
    kernel_size: float = ...,
    max_dist: float = ...,
    return_tree: bool = ...,
    sigma: float = ...,
    convert2lab: bool = ...,
    rng: Any = ...,
    *,
    channel_axis: int = ...,
    device: Any = ...,
) -> NDArray[np.int64] | Tree: ...
def quickshift(
    image: Any,
    ratio: float = 1.0,
    kernel_size: float = 5,
    max_dist: float = 10,
    return_tree: bool = False,
    sigma: float = 0,
    convert2lab: bool = True,
    rng: Any = 42,
    *,
    channel_axis: int = -1,
    device: Any = None,
) -> NDArray[np.int64] | Tree:
    """Link every pixel to the nearest one of higher density, and cut the long links (Quickshift).

    The signature, the meaning of every argument and the result are those of
    `skimage.segmentation.quickshift`.

    Parameters
    ----------
    image : array_like, (H, W) or (H, W, C)
        Of any real dtype. The values are not rescaled; integers become [0, 1] by the range of their dtype.
    ratio : float
        Weight of colour against position, 0 to 1.
    kernel_size : float
        Width of the density estimate in pixels; at least 1.
    max_dist : float
        Links longer than this are cut.
    return_tree : bool
        Whether to return the links and their lengths too.
    sigma : float
        Standard deviation of the Gaussian smoothing beforehand, in pixels.
    convert2lab : bool
        Whether to compare colours in Lab; needs three channels, so say False for a grey image.
    rng : int or numpy.random.Generator
        Breaks ties.
    channel_axis : int
        Axis of the channels.
    device : None, str or torch.device
        Where to run: compiled loops on the processor for None and ``"cpu"``, else triton's kernels where triton
        runs (CUDA on Linux), else torch.

    Returns
    -------
    ndarray of int, (H, W)
        Cluster numbers from 0. With ``return_tree`` a tuple of it, the parent of every pixel, and the
        distance to it.

    Raises
    ------
    TypeError
        If ``image`` does not hold real numbers, or ``device`` is no device.
    ValueError
        If ``image`` is empty, not 2-D, or not RGB where Lab is wanted; ``kernel_size`` is below 1; or the
        device is unknown.

    References
    ----------
    A. Vedaldi and S. Soatto, Quick shift and kernel methods for mode seeking, ECCV 2008.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.repeat([0.0, 100.0], 4)[None].repeat(4, axis=0)
    >>> labels = quickshift(image, kernel_size=2, max_dist=8, convert2lab=False)
    >>> len(np.unique(labels)), set(labels[:, :4].flat) & set(labels[:, 4:].flat)
    (2, set())
    """
    accelerator = _accelerator(device)
    prepared = _prepared(image, ratio, kernel_size, sigma, convert2lab, rng, channel_axis)
    if accelerator is not None and not return_tree:
        from napari_refit.uss.quickshift_torch import torch_cut

        found: NDArray[np.int64] = torch_cut(*_device_links(*prepared, accelerator), max_dist).cpu().numpy()
        return found
    tree = _tree(*prepared, accelerator, None)
    labels = tree.cut(max_dist)
    return (labels, tree.parents.astype(np.int64), tree.distances) if return_tree else labels


def quickshift_tree(
    image: Any,
    ratio: float = 1.0,
    kernel_size: float = 5,
    sigma: float = 0,
    convert2lab: bool = True,
    rng: Any = 42,
    *,
    channel_axis: int = -1,
    device: Any = None,
    cancelled: Stop | None = None,
) -> QuickshiftTree:
    """Link every pixel to the nearest one of higher density, as `quickshift` does before it cuts.

    Parameters
    ----------
    image, ratio, kernel_size, sigma, convert2lab, rng, channel_axis, device
        As in `quickshift`.
    cancelled : callable, optional
        Asked every few milliseconds.

    Returns
    -------
    QuickshiftTree
        To be cut at any length: nothing but the cut depends on ``max_dist``.

    Raises
    ------
    napari_refit.errors.Cancelled
        If ``cancelled()`` answered True.
    TypeError, ValueError
        As `quickshift`.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.repeat([0.0, 100.0], 4)[None].repeat(4, axis=0)
    >>> tree = quickshift_tree(image, kernel_size=2, convert2lab=False)
    >>> tree.cut(8).max().item() + 1, tree.cut(200).max().item() + 1
    (2, 1)
    """
    accelerator = _accelerator(device)
    prepared = _prepared(image, ratio, kernel_size, sigma, convert2lab, rng, channel_axis)
    return _tree(*prepared, accelerator, cancelled)


def _accelerator(device: Any) -> torch.device | None:
    return None if on_processor(device) else torch_device(device)


def _prepared(
    image: Any, ratio: float, kernel_size: float, sigma: float, convert2lab: bool, rng: Any, channel_axis: int
) -> tuple[NDArray[np.floating], float, np.random.Generator]:
    values = real_array(image, "image")
    if not kernel_size >= 1:
        raise ValueError(f"kernel_size must be at least 1, got {kernel_size!r}")
    if kernel_size == math.inf:
        raise ValueError("kernel_size must be finite, got inf")
    generator = np.random.default_rng(rng)
    return _colours(values, ratio, sigma, convert2lab, channel_axis), float(kernel_size), generator


def _tree(
    colours: NDArray[np.floating],
    kernel_size: float,
    generator: np.random.Generator,
    accelerator: torch.device | None,
    cancelled: Stop | None,
) -> QuickshiftTree:
    check(cancelled)
    if accelerator is None:
        from napari_refit.uss.quickshift_processor import compiled_tree

        return QuickshiftTree(*compiled_tree(colours, kernel_size, generator, cancelled))
    links = _device_links(colours, kernel_size, generator, accelerator, cancelled)
    parents, distances = (tensor.cpu().numpy() for tensor in links)
    return QuickshiftTree(parents, distances.astype(colours.dtype, copy=False))


def _device_links(
    colours: NDArray[np.floating],
    kernel_size: float,
    generator: np.random.Generator,
    device: torch.device,
    cancelled: Stop | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    from napari_refit.uss.llvm import triton_runs

    # Triton's kernels count in 32 bits.
    if colours.size < 2**31 and triton_runs(device):
        from napari_refit.uss.quickshift_triton import triton_links

        return triton_links(colours, kernel_size, generator, device, cancelled)
    from napari_refit.uss.quickshift_torch import torch_links

    return torch_links(colours, kernel_size, generator, device, cancelled)


def _colours(
    values: NDArray[Any], ratio: float, sigma: float, convert2lab: bool, channel_axis: int
) -> NDArray[np.floating]:
    """What distances are measured in, (H, W, C), in the precision in which scikit-image would compute."""
    from skimage.util import img_as_float

    colours = img_as_float(np.atleast_3d(values))
    if colours.dtype != np.float32:
        colours = colours.astype(np.float32 if colours.dtype == np.float16 else np.float64, copy=False)
    if colours.ndim > 3:
        raise ValueError(f"image must be 2-D, with or without channels, got shape {values.shape}")
    colours = np.moveaxis(colours, channel_axis, -1)
    if convert2lab:
        if colours.shape[-1] != 3:
            raise ValueError(
                f"only RGB can be converted to Lab, got {colours.shape[-1]} channels: use convert2lab=False"
            )
        from napari_refit.uss.lab import rgb_to_lab

        colours = rgb_to_lab(colours)
    if sigma < 0:
        raise ValueError(f"sigma must be at least 0, got {sigma!r}")
    if sigma > 0:
        colours = _smoothed(colours, sigma)
    return colours * ratio if ratio != 1 else colours


def _smoothed(colours: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    from scipy.ndimage import gaussian_filter

    planes = np.ascontiguousarray(np.moveaxis(colours, -1, 0))
    smooth = np.empty_like(planes)

    def smooth_planes(start: int, stop: int) -> None:
        for channel in range(start, stop):
            gaussian_filter(planes[channel], sigma, output=smooth[channel], mode="reflect")

    run_bands(smooth_planes, len(planes))
    return np.moveaxis(smooth, 0, -1)
