from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_refit.cam.classifier import Classifier
from napari_refit.errors import Cancelled
from napari_refit.learn.augment import augment
from napari_refit.learn.feeding import (
    ImageStore,
    ahead,
    class_groups,
    count_channels,
    epoch_batches,
)
from napari_refit.learn.samples import ArraySamples
from napari_refit.learn.settings import TrainingParams

STILL = TrainingParams(
    flip_horizontal=0,
    rotation=0,
    translation=0,
    scaling=0,
    brightness=0,
    contrast=0,
    gamma=0,
    noise=0,
    blur=0,
)


def of(images: list[np.ndarray]) -> ArraySamples:
    return ArraySamples(images, [k % 2 for k in range(len(images))], ["a", "b"])


def test_images_are_resized_as_a_classifier_resizes_them() -> None:
    draw = np.random.default_rng(0)
    images = [draw.random(shape).astype(np.float32) for shape in ((40, 30), (64, 64), (32, 32))]
    store = ImageStore(of(images), 32, 1)
    plain = Classifier(torch.nn.Conv2d(1, 2, 1), ["a", "b"], input_size=32, in_channels=1)
    expected = torch.cat([plain.prepare(image[None]) for image in images]).detach()
    torch.testing.assert_close(store.batch([0, 1, 2]), expected, rtol=0, atol=5e-4)


def test_what_does_not_fit_is_read_again_and_is_the_same() -> None:
    draw = np.random.default_rng(0)
    samples = of([draw.random((20, 20, 3)).astype(np.float32) for _ in range(5)])
    size = 2 * 3 * 16 * 16
    stores = [ImageStore(samples, 16, 3, limit) for limit in (0, 2 * size, 100 * size)]
    batches = [store.batch(range(5)) for store in stores]
    assert torch.equal(batches[0], batches[2])
    assert torch.equal(batches[1], batches[2])
    assert len({store.checksum for store in stores}) == 1
    assert stores[0].mean == pytest.approx(float(batches[0].mean()), abs=1e-6)
    assert stores[0].deviation == pytest.approx(float(batches[0].std(correction=0)), abs=1e-6)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((8, 8), np.nan), "image 1: 64 values are NaN"),
        (np.full((8, 8), 7.0), r"image 1: values must be in \[0, 1\], found 7 to 7"),
        (np.zeros((8, 8, 2)), "image 1: has 2 channels, the others 1"),
        (np.zeros((2, 8, 8, 1)), r"image 1: .*shape .*\(2, 8, 8, 1\)"),
        (np.zeros((0, 8)), "image 1: .*shape"),
    ],
)
def test_a_bad_image_is_named(image: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ImageStore(of([np.zeros((8, 8)), image]), 32, 1)


def test_reading_tells_how_far_it_is_and_can_be_stopped() -> None:
    samples = of([np.zeros((8, 8))] * 1 + [np.ones((8, 8))] * 2)
    seen: list[tuple[int, int]] = []
    ImageStore(samples, 32, 1, progress=lambda done, total, text: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(Cancelled):
        ImageStore(samples, 32, 1, cancelled=lambda: len(seen) > 2)


def test_channels_are_counted() -> None:
    draw = np.random.default_rng(0)
    grey = draw.random((16, 16)).astype(np.float32)
    saved_as_colour = np.repeat(grey[..., None], 3, axis=2)
    marked = saved_as_colour.copy()
    marked[0, 0] = (1, 1, 0)
    colour = draw.random((16, 16, 3)).astype(np.float32)
    assert count_channels(of([grey, grey])) == 1
    assert count_channels(of([saved_as_colour, marked])) == 1
    assert count_channels(of([saved_as_colour, marked]), "all") == 3
    assert count_channels(of([grey, colour])) == 3
    assert count_channels(of([colour, colour]), "grey") == 1
    assert count_channels(of([np.zeros((4, 4, 2)), np.zeros((4, 4, 2))])) == 2


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=80),
    st.integers(2, 20),
    st.booleans(),
    st.integers(0, 99),
)
def test_an_epoch_is_as_many_images_in_even_batches(
    groups: list[int], size: int, balanced: bool, seed: int
) -> None:
    array = np.array(groups)
    batches = epoch_batches(array, size, balanced, np.random.default_rng(seed))
    lengths = [len(batch) for batch in batches]
    assert sum(lengths) == len(groups)
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    order = np.concatenate(batches)
    if not balanced:
        assert sorted(order.tolist()) == list(range(len(groups)))
        return
    present = np.unique(array)
    counts = [int((array[order] == group).sum()) for group in present]
    assert max(counts) - min(counts) <= 1
    for batch in batches:
        inside = [int((array[batch] == group).sum()) for group in present]
        assert max(inside) - min(inside) <= 2


def test_a_rare_class_is_shown_as_often_and_every_image_of_it() -> None:
    groups = np.repeat([0, 1], [90, 10])
    order = np.concatenate(epoch_batches(groups, 10, True, np.random.default_rng(0)))
    assert (groups[order] == 1).sum() == 50
    assert set(order[groups[order] == 1]) == set(range(90, 100))
    assert np.bincount(order)[90:].tolist() == [5] * 10


def test_groups_of_several_labels_are_the_rarest_class() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]])
    assert class_groups(labels).tolist() == [0, 1, 2, -1]
    assert class_groups(np.array([2, 0])).tolist() == [2, 0]


def test_things_are_made_one_ahead_on_another_thread_and_errors_come_through() -> None:
    threads, made = set(), []

    def make(item: int) -> int:
        threads.add(threading.get_ident())
        made.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    walk = ahead(make, [1, 2, 3, 4])
    assert next(walk) == 1
    assert next(walk) == 2
    with pytest.raises(ValueError, match="three"):
        next(walk)
    assert made == [1, 2, 3]
    assert threading.get_ident() not in threads


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_augmentation_follows_from_its_generator_alone() -> None:
    images = torch.rand(4, 2, 24, 20, generator=draw(0))
    params = TrainingParams(flip_vertical=0.5, blur=2)
    state = torch.get_rng_state()
    first, again, other = (augment(images, params, draw(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == images.shape
    assert (float(first.min()), float(first.max())) >= (0.0, 0.0)
    assert float(first.max()) <= 1


def test_without_strength_nothing_changes() -> None:
    images = torch.rand(3, 1, 16, 16, generator=draw(0))
    assert torch.equal(augment(images, STILL, draw(1)), images)


@pytest.mark.parametrize(("name", "axis"), [("flip_horizontal", 3), ("flip_vertical", 2)])
def test_mirrors(name: str, axis: int) -> None:
    images = torch.rand(2, 1, 8, 8, generator=draw(0))
    assert torch.equal(augment(images, STILL.model_copy(update={name: 1.0}), draw(1)), images.flip(axis))


@pytest.mark.parametrize(
    "name", ["brightness", "contrast", "gamma", "noise", "blur", "rotation", "scaling", "translation"]
)
def test_each_change_changes_each_image_in_its_own_way(name: str) -> None:
    images = torch.rand(1, 1, 24, 24, generator=draw(0)).expand(3, -1, -1, -1) * 0.5 + 0.2
    strength = {"rotation": 20.0, "blur": 3.0}.get(name, 0.3)
    changed = augment(images, STILL.model_copy(update={name: strength}), draw(4))
    assert not torch.equal(changed[0], images[0])
    assert not torch.equal(changed[0], changed[1])
    if name == "contrast":
        torch.testing.assert_close(changed.mean((1, 2, 3)), images.mean((1, 2, 3)), rtol=1e-3, atol=1e-3)
