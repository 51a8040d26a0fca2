"""An image made ready for SLIC on an accelerator: rescaled, in Lab, smoothed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

# Linear sRGB to XYZ, each row divided by the white point of D65, 2 degrees.
_MIX = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)


def rescaled(planes: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    """Stretch the kept values of an image to [0, 1].

    Parameters
    ----------
    planes : tensor, (C, D, H, W)
        Of any real dtype.
    keep : tensor of bool, (D, H, W), optional
        Only values where it is True count; at least one is.

    Returns
    -------
    tensor of float32, (C, D, H, W)

    Raises
    ------
    ValueError
        If a kept value is NaN or infinite.

    Examples
    --------
    >>> rescaled(torch.tensor([[[[2, 4, 6]]]]), None).tolist()
    [[[[0.0, 0.5, 1.0]]]]
    """
    narrow = planes.element_size() <= 2 or planes.dtype == torch.float32 or planes.device.type == "mps"
    exact = torch.float32 if narrow else torch.float64
    values = planes.contiguous().to(exact)
    seen = values if keep is None else values[:, keep]
    # NaN spreads to both.
    least, most = seen.aminmax()
    low, high = torch.stack([least, most]).tolist()
    if low != low or high != high:
        raise ValueError("image holds NaN that is not masked out")
    if abs(low) == torch.inf or abs(high) == torch.inf:
        raise ValueError("image holds infinities that are not masked out")
    span = most - least
    return ((values - least) / torch.where(span == 0, 1, span)).float()


def lab_planes(planes: torch.Tensor) -> torch.Tensor:
    """Convert sRGB to Lab (D65, 2 degrees), as `napari_refit.uss.colour.lab_planes`.

    Parameters
    ----------
    planes : tensor of float32, (3, ...)
        Red, green and blue in [0, 1].

    Returns
    -------
    tensor of float32, (3, ...)
        L in [0, 100], a and b.

    Examples
    --------
    >>> lab_planes(torch.tensor([[1.0], [0.0], [0.0]])).round().flatten().tolist()
    [53.0, 80.0, 67.0]
    """
    linear = torch.where(planes > 0.04045, ((planes + 0.055) / 1.055) ** 2.4, planes / 12.92)
    red, green, blue = linear
    roots = []
    for share_red, share_green, share_blue in _MIX:
        value = share_red * red + share_green * green + share_blue * blue
        roots.append(torch.where(value > 0.008856, value ** (1 / 3), 7.787 * value + 16 / 116))
    x, y, z = roots
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def smooth(planes: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Smooth each channel of an image, as `napari_refit.uss.smoothing.smooth`.

    Parameters
    ----------
    planes : tensor of float32, (C, D, H, W)
    sigmas : sequence of 3 float
        Standard deviations along z, y and x in pixels; an axis with 0 is left as it is.

    Returns
    -------
    tensor of float32, (C, D, H, W)

    Raises
    ------
    ValueError
        If a standard deviation is below 0 or not finite.

    Examples
    --------
    >>> edge = torch.tensor([0.0, 0, 0, 1, 1, 1]).reshape(1, 1, 1, 6)
    >>> (smooth(edge, (0, 0, 0.5)).flatten() * 100).round().int().tolist()
    [0, 0, 11, 89, 100, 100]
    """
    from napari_refit.uss.smoothing import half_kernel

    for axis, sigma in enumerate(sigmas, start=1):
        weights = half_kernel(float(sigma)).tolist()
        if len(weights) == 1:
            continue
        radius, length = len(weights) - 1, planes.shape[axis]
        # The border is mirrored, again and again where the image is smaller than the kernel.
        places = torch.arange(-radius, length + radius, device=planes.device).remainder(2 * length)
        padded = planes.index_select(axis, torch.where(places < length, places, 2 * length - 1 - places))
        planes = planes * weights[0]
        for distance in range(1, radius + 1):
            sides = (padded.narrow(axis, radius + step, length) for step in (-distance, distance))
            planes.add_(sum(sides), alpha=weights[distance])
    return planes
