"""The choice of number format: forced, measured once, kept, and without a trace elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gcudml.config import RunConfig
from gcudml.models import number_format
from gcudml.models.embedding import Embedder
from gcudml.models.number_format import Format, autocast, choose_format

CPU = torch.device("cpu")


def config(**train: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": {"name": "strokes", "image_size": 12},
            "model": {"width": 4, "embedding_dim": 4, "wide_dim": 4},
            "train": {"batch_size": 10, "views": 1} | train,
        }
    )


def choose(settings: RunConfig) -> Format:
    return choose_format(settings, channels=1, device=CPU)


def pretend(monkeypatch: pytest.MonkeyPatch, **times: float) -> list[list[str]]:
    """Replace the measurement; returns the names of each one's candidates."""
    asked: list[list[str]] = []

    def measure(candidates: list[Format], *_: object) -> dict[str, float]:
        asked.append([each.name for each in candidates])
        return {each.name: float(times[each.name.replace(" ", "_")]) for each in candidates}

    monkeypatch.setattr(number_format, "_measure", measure)
    return asked


def test_a_forced_setting_is_taken_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch)
    found = choose(config(number_format="bf16", memory_layout="channels_last"))
    assert (found.dtype, found.layout, dict(found.measured)) == ("bf16", "channels_last", {})
    assert asked == []


def test_only_what_is_left_open_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch, fp32_contiguous=2, fp32_channels_last=1)
    assert choose(config(number_format="fp32")).name == "fp32 channels_last"
    assert asked == [["fp32 contiguous", "fp32 channels_last"]]


@pytest.mark.parametrize(
    ("half", "expected"), [(95, "fp32 contiguous"), (85, "bf16 channels_last")]
)
def test_bf16_must_save_more_than_a_tenth(
    monkeypatch: pytest.MonkeyPatch, half: float, expected: str
) -> None:
    pretend(
        monkeypatch,
        fp32_contiguous=100,
        fp32_channels_last=120,
        bf16_contiguous=200,
        bf16_channels_last=half,
    )
    assert choose(config()).name == expected


def test_the_choice_is_kept_for_later_runs_though_they_would_measure_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {
        "fp32_contiguous": 1,
        "fp32_channels_last": 2,
        "bf16_contiguous": 3,
        "bf16_channels_last": 4,
    }
    pretend(monkeypatch, **times)
    first = choose(config())
    asked = pretend(monkeypatch, **{name: 5 - value for name, value in times.items()})
    assert choose(config()) == first
    assert asked == []


def test_trials_of_one_study_share_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sizes of heads and the method change within a study; the number format must not.
    pretend(
        monkeypatch,
        fp32_contiguous=1,
        fp32_channels_last=2,
        bf16_contiguous=3,
        bf16_channels_last=4,
    )
    choose(config())
    asked = pretend(monkeypatch)
    other = config().model_dump()
    other["model"] |= {"embedding_dim": 16, "wide_dim": 32, "pooling": "max"}
    other["method"] |= {"clusters": 7, "groups": 2}
    choose(RunConfig.model_validate(other))
    assert asked == []


def test_another_network_is_measured_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {
        "fp32_contiguous": 1,
        "fp32_channels_last": 2,
        "bf16_contiguous": 3,
        "bf16_channels_last": 4,
    }
    asked = pretend(monkeypatch, **times)
    choose(config())
    wider = config().model_dump()
    wider["model"]["width"] = 8
    choose(RunConfig.model_validate(wider))
    assert len(asked) == 2


def test_weights_change_the_choice_only_where_they_change_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {
        "fp32_contiguous": 1,
        "fp32_channels_last": 2,
        "bf16_contiguous": 3,
        "bf16_channels_last": 4,
    }
    asked = pretend(monkeypatch, **times)
    for size, measured in [(64, 1), (32, 3)]:  # small images: another stem without weights
        for model in (
            {"backbone": "resnet18"},
            {"backbone": "resnet18", "weights": "a.pt", "input_format": "imagenet"},
        ):
            settings = config().model_dump() | {"model": model}
            settings["data"] = {"name": "folder", "root": "images", "image_size": size}
            choose_format(RunConfig.model_validate(settings), channels=3, device=CPU)
        assert len(asked) == measured


def test_the_measurement_reads_no_weights() -> None:
    settings = config().model_dump()
    settings["model"] = {"backbone": "squeezenet1_1", "weights": "a.pt", "input_format": "imagenet"}
    settings["data"]["image_size"] = 20
    assert len(choose(RunConfig.model_validate(settings)).measured) == 4


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{}",
        "[]",
        '{"chosen": "fp32 contiguous"}',
        '{"chosen": "fp8 contiguous", "measured": {}}',
    ],
)
def test_a_damaged_file_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
) -> None:
    pretend(
        monkeypatch,
        fp32_contiguous=1,
        fp32_channels_last=2,
        bf16_contiguous=3,
        bf16_channels_last=4,
    )
    first = choose(config())
    (kept,) = (tmp_path / "cache" / "formats").glob("*.json")
    kept.write_text(damage)
    assert choose(config()) == first
    assert json.loads(kept.read_text())["content"]["chosen"] == "fp32 contiguous"


def test_a_real_measurement_times_all_four_and_leaves_the_random_state() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = choose(config())
    assert torch.equal(before, torch.get_rng_state())
    assert set(found.measured) == {
        f"{dtype} {layout}"
        for dtype in ("fp32", "bf16")
        for layout in ("contiguous", "channels_last")
    }
    assert all(value > 0 for value in found.measured.values())
    assert found.name in found.measured


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_network_and_images_are_put_into_the_layout(layout: str) -> None:
    chosen = Format("fp32", layout)
    student = Embedder(config().model, channels=3, image_size=12, seed=0)
    chosen.place(student, CPU)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    weights = [p for p in student.parameters() if p.ndim == 4]
    assert all(weight.is_contiguous(memory_format=memory) for weight in weights)
    assert chosen.arrange(torch.rand(2, 3, 12, 12)).is_contiguous(memory_format=memory)


@pytest.mark.parametrize(("dtype", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_convolutions_compute_in_the_chosen_numbers(dtype: str, expected: torch.dtype) -> None:
    student = Embedder(config().model, channels=1, image_size=12, seed=0)
    with autocast(Format(dtype, "contiguous"), CPU):
        maps = student.features.maps(torch.rand(2, 1, 12, 12))
    assert maps.dtype == expected
