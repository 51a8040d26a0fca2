import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from napari_refit.params import CamParams, Parameters, declarations, number
from napari_refit.recipe import RefitParams, digest, group_models, reason
from napari_refit.registry import FITS, SEGMENTERS, register_fit, register_segmenter


def test_a_plain_key_and_a_dotted_key_mean_the_same():
    assert RefitParams(threshold=0.3) == RefitParams(**{"boundary.threshold": 0.3})
    assert RefitParams(threshold=0.3) == RefitParams().replace(threshold=0.3)
    assert RefitParams(threshold=0.3).of("boundary").threshold == 0.3


@pytest.mark.parametrize("name", list(RefitParams.presets()))
def test_presets_survive_json(name):
    preset = RefitParams.preset(name)
    assert RefitParams.model_validate_json(preset.model_dump_json()) == preset


def test_paper_presets_hold_the_published_settings():
    busi = RefitParams.preset("paper-busi-slic")
    assert (busi.of("network").guide_n_segments, busi.of("network").guide_compactness) == (300, 100.0)
    assert busi.of("boundary").tolerance == pytest.approx(10 / 255)
    quick = RefitParams.preset("paper-busi-quickshift").of("network")
    assert (quick.guide, quick.guide_kernel_size, quick.guide_max_dist, quick.guide_ratio) == (
        "quickshift",
        1,
        4,
        1,
    )
    brats = RefitParams.preset("paper-brats")
    assert (brats.intensity.scope, brats.intensity.floor, brats.of("boundary").threshold) == (
        "slice",
        0.8,
        0.7,
    )
    assert RefitParams.preset("paper-decathlon").of("network").guide_n_segments == 3000
    for name in RefitParams.presets():
        if name.startswith("paper"):
            params = RefitParams.preset(name)
            assert (params.segmenter, params.cam.cam_input, params.cam.gate) == (
                "network",
                "simplified",
                "off",
            )
            assert (params.of("network").steps, params.of("network").seed) == (64, 43)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold": 1.5}, ["boundary.threshold", "1.5", "less than or equal to 1"]),
        ({"threshold": float("nan")}, ["boundary.threshold", "finite"]),
        ({"thresold": 0.5}, ["unknown parameter 'thresold'", "threshold"]),
        ({"kernel_size": 3.0}, ["quickshift.kernel_size"]),
        ({"segmenter": "watershd"}, ["watershd", "watershed"]),
        ({"slic": {"segments": 3}}, ["unknown parameter 'slic.segments'"]),
        ({"slic": 3}, ["slic holds parameters by name", "3"]),
        ({"cam.gate": "maybe"}, ["gate", "maybe"]),
    ],
)
def test_a_bad_value_is_named(change, words):
    with pytest.raises(ValueError, match=r".") as caught:
        RefitParams(**change)
    text = reason(caught.value) if isinstance(caught.value, ValidationError) else str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_parameters_are_frozen():
    with pytest.raises(ValidationError):
        RefitParams().segmenter = "quickshift"


def test_texts_are_read_as_their_parameter_says():
    params = RefitParams().with_texts(
        {"segmenter": "quickshift", "kernel_size": "5", "cam.classes": "lesion, oedema", "threshold": "0.35"}
    )
    assert params.of("quickshift").kernel_size == 5
    assert params.cam.classes == ("lesion", "oedema")
    assert params.of("boundary").threshold == 0.35
    assert params.changed() == {
        "segmenter": "quickshift",
        "quickshift.kernel_size": 5.0,
        "cam.classes": ("lesion", "oedema"),
        "boundary.threshold": 0.35,
    }


def test_a_third_party_segmenter_gets_its_own_parameters():
    class Bands(Parameters):
        width: int = number(8, 1, 64, title="Width", help="Pixels per band.", unit="px")

    register_segmenter("bands", lambda image, params: image, Bands)
    try:
        params = RefitParams(segmenter="bands", width=16)
        assert params.segmenter_params.width == 16
        assert RefitParams.model_validate_json(params.model_dump_json()).of("bands").width == 16
        assert json.loads(params.model_dump_json())["bands"] == {"width": 16}
    finally:
        SEGMENTERS.unregister("bands")
    with pytest.raises(ValueError, match="unknown"):
        RefitParams(segmenter="bands")


@pytest.mark.parametrize("name", ["cam", "boundary", "not an identifier"])
def test_a_taken_or_bad_name_is_refused(name):
    with pytest.raises(ValueError, match=name):
        SEGMENTERS.register(name, lambda image, params: image)
    with pytest.raises(TypeError, match="pydantic"):
        FITS.register("mine", lambda inputs, params: None, dict)
    assert "mine" not in FITS


@pytest.mark.parametrize("group", list(group_models()))
def test_every_parameter_is_fully_declared(group):
    for item in declarations(group_models()[group]):
        assert item.title, item.name
        assert item.help.strip().endswith("."), (group, item.name, item.help)
        if item.kind in ("int", "float"):
            assert item.low <= item.default <= item.high
            assert item.step, item.name
            assert not item.log or item.low > 0, item.name
        if item.kind == "choice":
            assert item.default in item.choices


def test_a_plain_pydantic_model_can_be_declared_too():
    class Plain(Parameters):
        size: int = Field(3, ge=1, le=9)
        on: bool = True

    size, on = declarations(Plain)
    assert (size.kind, size.low, size.high, size.title) == ("int", 1, 9, "size")
    assert on.kind == "bool"


@given(st.floats(0, 1), st.floats(0.01, 1))
def test_the_digest_tells_parameters_apart(threshold, coverage):
    one = RefitParams(threshold=threshold, coverage=coverage)
    same = RefitParams.model_validate_json(one.model_dump_json())
    assert digest(one) == digest(same)
    assert digest(one) != digest(one.replace(threshold=(threshold + 0.5) % 1.0 if threshold != 0.5 else 0.1))


def test_what_is_not_chosen_changes_no_key():
    from pydantic import BaseModel

    class Extra(BaseModel):
        strength: float = 1.0

    before = RefitParams().used()
    register_fit("extra", lambda inputs, params: None, Extra)
    try:
        assert RefitParams().used() == before
        assert RefitParams(fit="extra").used()["extra.strength"] == 1.0
        assert RefitParams(fit="extra", strength=2.0).used() != RefitParams(fit="extra").used()
    finally:
        FITS.unregister("extra")


def test_several_numbers_are_read_checked_and_put_in_order():
    params = RefitParams().with_texts({"scales": "2, 0.5,1", "smoothing": "mirror"})
    assert params.cam.scales == (0.5, 1.0, 2.0)
    assert params.changed() == {"cam.scales": (0.5, 1.0, 2.0), "cam.smoothing": "mirror"}
    assert RefitParams.model_validate_json(params.model_dump_json()) == params
    item = next(item for item in declarations(CamParams) if item.name == "scales")
    assert (item.kind, item.low, item.high, item.default) == ("numbers", 0.25, 4.0, (1.0,))
    for text, word in (("1, x", "cam.scales"), ("0.1", "0.25"), ("", "at least 1")):
        with pytest.raises(ValueError, match=r"cam\.scales") as caught:
            RefitParams().with_texts({"scales": text})
        assert word in str(caught.value)


def test_parameters_written_before_there_were_scales_are_read():
    old = RefitParams().model_dump(mode="json")
    del old["cam"]["scales"]
    assert RefitParams(**old) == RefitParams()
