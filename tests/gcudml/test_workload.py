"""The border: what crosses it, and what a user reads when a parameter is wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from flip import flip_byte
from PIL import Image
from pydantic import JsonValue
from tiny import Recorder, context_for, tiny

from gcudml import workload
from gcudml.config import RunConfig
from gcudml.data import datasets
from gcudml.runtime import files as files_module
from gcudml.runtime.files import Stamp


def test_check_fills_in_every_default_and_accepts_its_own_answer() -> None:
    full = workload.check({"method": {"name": "gcudml", "clusters": 50}})
    assert full["method"]["clusters"] == 50
    assert full["method"]["weights"]["metric"] == 1.0
    assert full["train"]["epochs"] > 0
    assert workload.check(full) == full
    json.dumps(full)  # plain values only


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {"method": {"name": "gcudml", "gruops": 3}},
            r"^method\.gruops: unknown parameter; did you mean 'groups'\?",
        ),
        ({"modle": {}}, r"^modle: unknown parameter; did you mean 'model'\?"),
        (
            {"method": {"name": "gcudml", "weights": {"metrc": 1}}},
            r"^method\.weights\.metrc: unknown parameter; did you mean 'metric'\?",
        ),
        ({"data": {"name": "strokes", "root": "x"}}, r"^data\.root: unknown parameter"),
        (
            {"method": {"name": "supervised", "loss": {"name": "TripletMarginLos"}}},
            r"^method\.loss\.name: unknown loss 'TripletMarginLos'; did you mean 'TripletMarginLoss'\?",
        ),
        (
            {"method": {"name": "udml_ss", "loss": {"name": "triplet", "args": {"magrin": 1}}}},
            r"^method\.loss\.args: triplet does not take .*it takes: margin,",
        ),
        (
            {
                "method": {
                    "name": "supervised",
                    "loss": {"name": "triplet", "args": {"margin": "x"}},
                }
            },
            r"^method\.loss\.args: triplet fails with \{'margin': 'x'\} \(",
        ),
        (
            {"method": {"name": "udml_ss", "weights": {"metric": 0, "rotation": 0}}},
            r"^method\.weights\.metric: all weights are 0",
        ),
        (
            {
                "method": {
                    "name": "gcudml",
                    "group_embedding": "wide",
                    "weights": {"metric": 0, "distillation": 0},
                }
            },
            r"^method\.weights\.metric: no remaining term trains the compact embedding",
        ),
        (
            {
                "method": {
                    "name": "gcudml",
                    "group_embedding": "wide",
                    "distillation": "logits",
                    "weights": {"metric": 0},
                }
            },
            r"^method\.weights\.metric: no remaining term trains the compact embedding",
        ),
        (
            {"method": {"name": "gcudml", "metric_args": {"margn": 0.1}}},
            r"^method\.metric_args: multi_similarity does not take margn; it takes: \['alpha', ",
        ),
        (
            {"method": {"name": "gcudml", "metric_args": {"alpha": "x"}}},
            r"^method\.metric_args: multi_similarity fails with \{'alpha': 'x'\} \(",
        ),
        (
            {"method": {"name": "gcudml", "groups_from_epoch": 3}, "train": {"epochs": 3}},
            r"^method\.groups_from_epoch: 3, but the last of 3 epochs is number 2; lower it, or set",
        ),
        (
            {
                "method": {
                    "name": "gcudml",
                    "groups_from_epoch": 1,
                    "weights": {"metric": 0, "distillation": 0},
                }
            },
            r"^method\.groups_from_epoch: no term trains the student before the group terms start; ",
        ),
        (
            {"train": {"epochs": 2, "trunk_from_epoch": 2}},
            r"^train\.trunk_from_epoch: 2 of 2 epochs would leave the backbone untrained; needs fewer",
        ),
        (
            {"method": {"name": "instance"}, "train": {"views": 1}},
            r"^train\.views: 1 view leaves an image without a positive; method instance needs",
        ),
        (
            {"method": {"name": "gcudlm"}},
            r"^method\.name: unknown method 'gcudlm'; did you mean 'gcudml'\? known: .*stml",
        ),
        (
            {"method": {"name": "gcudml"}, "data": {"name": "strokes", "labelled_fraction": 0.5}},
            r"^data\.labelled_fraction: method gcudml uses no label",
        ),
        (
            {"data": {"name": "strokes", "labelled_fraction": 2}},
            r"^data\.labelled_fraction: .*got 2",
        ),
        ({"train": {"epochs": 0}}, r"^train\.epochs: .*greater than or equal to 1, got 0"),
        (
            {"method": {"name": "gcudml", "teacher_momentum": 1.5}},
            r"^method\.teacher_momentum: .*got 1\.5",
        ),
        (
            {"method": {"name": "gcudml", "clusters": 4, "groups": 5}},
            r"^method\.groups: 5 groups of 4 clusters",
        ),
        (
            {"method": {"name": "gcudml", "group_ratio": 4.0}},
            r"^method\.groups: give either groups or group_ratio",
        ),
        (
            {"method": {"name": "gcudml", "group_loss": "pair", "weights": {"collaborative": 1}}},
            r"^method\.weights\.collaborative: ",
        ),
        (
            {
                "method": {
                    "name": "gcudml",
                    "weights": {"metric": 0, "group": 0, "collaborative": 0, "distillation": 0},
                }
            },
            r"^method\.weights\.metric: no remaining term trains the compact",
        ),
        (
            {"method": {"name": "gcudml", "weights": {"group": 0}}},
            r"^method\.weights\.collaborative: .*no group term",
        ),
        (
            {"train": {"batch_size": 8}},
            r"^train\.batch_size: 8 images hold fewer than two clusters",
        ),
        (
            {"method": {"name": "slmt"}},
            r"^method\.name: unknown method 'slmt'; did you mean 'stml'",
        ),
        (
            {"views": {"crop_scale": [0.9, 0.2]}},
            r"^views\.crop_scale: needs 0 < smallest <= largest, got 0\.9 and 0\.2",
        ),
        ({"train": {"learning_rate": float("nan")}}, r"^train\.learning_rate: "),
        ({"train": {"epochs": True}}, r"^train\.epochs: needs a number, .*quotes, got True"),
        ({"train": {"epochs": "1_000"}}, r"^train\.epochs: needs a number, .*quotes, got '1_000'"),
        ({"train": {"epochs": "many"}}, r"^train\.epochs: input should be a valid integer"),
        ({"train": {"learning_rate": "1e-3"}}, r"^train\.learning_rate: needs a number, .*'1e-3'"),
        ({"data": {"name": "strokes", "seed": False}}, r"^data\.seed: needs a number, .*got False"),
        (
            {"data": {"name": "strokes", "crop_size": "20"}},
            r"^data\.crop_size: needs a number, .*got '20'",
        ),
        (
            {"evaluate": {"k": [1, "2"]}},
            r"^evaluate\.k: needs a number, not a boolean or a number in quotes",
        ),
        ({"views": {"crop_scale": ["0.5", 1]}}, r"^views\.crop_scale: needs a number"),
        (
            {"data": {"name": "strokes", "split": {"val": "2"}}},
            r"^data\.split\.val: needs a number, .*got '2'",
        ),
        (
            {"data": {"name": "strokes", "split": {"train": "2"}}},
            r"^data\.split\.train: needs a number, .*got '2'",
        ),
        (
            {"data": {"name": "strokes", "split": {"val": "birds"}}},
            r"^data\.split\.val: give a number of classes, a",
        ),
    ],
)
def test_a_wrong_parameter_is_named_with_its_rule(params: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        workload.check(params)
    assert "Traceback" not in str(caught.value)
    assert all(len(line) < 400 for line in str(caught.value).splitlines())


def test_what_is_meant_as_text_may_look_like_a_number_and_a_whole_float_is_a_number() -> None:
    data = {"name": "folder", "root": "1_000", "split": {"val": ["12", "13"], "train": "rest"}}
    full = workload.check({"data": data, "train": {"epochs": 3.0, "learning_rate": 1}})
    assert full["data"]["root"] == "1_000"
    assert full["data"]["split"]["val"] == ["12", "13"]
    assert full["train"]["epochs"] == 3
    loss = {"name": "triplet", "args": {"margin": True}}
    workload.check({"method": {"name": "supervised", "loss": loss}})


def test_a_control_reports_once_and_a_training_once_an_epoch() -> None:
    assert workload.epochs({"train": {"epochs": 7}}) == 7
    for overrides in workload.controls({}).values():
        assert workload.epochs({"train": {"epochs": 7}} | overrides) == 1


def test_controls_are_valid_overrides() -> None:
    params = workload.check({})
    controls = workload.controls(params)
    assert set(controls) == {"raw pixels", "untrained"}
    for overrides in controls.values():
        workload.check(params | dict(overrides))


PRETRAINED = {"backbone": "resnet18", "weights": "imagenet", "pooling": "max"}


def controls_for(**model: JsonValue) -> dict[str, dict[str, JsonValue]]:
    params = workload.check({"model": PRETRAINED | model})
    controls = workload.controls(params)
    return {name: workload.check(params | dict(each)) for name, each in controls.items()}


def test_pretrained_weights_bring_the_untouched_network_with_its_own_pooling() -> None:
    found = controls_for(embedding_dim=32)
    assert list(found) == ["raw pixels", "untrained", "untouched", "untouched, best free"]
    untouched, best = found["untouched"], found["untouched, best free"]
    assert untouched["model"]["pooling"] == "max"
    assert untouched["method"] == {"name": "untrained", "embedding": "pooled"}
    assert best["method"] == {"name": "untrained", "embedding": "best_free"}
    assert best["model"]["embedding_dim"] == 32


@pytest.mark.parametrize(
    ("changed", "differ"),
    [
        ({"pooling": "avg"}, ["untouched"]),
        ({"embedding_dim": 32}, ["untrained", "untouched, best free"]),
        ({"wide_dim": 32}, []),
        ({"head_init": "default"}, ["untrained"]),
        ({"freeze_batch_norm": True}, []),
    ],
)
def test_a_control_changes_only_with_what_affects_it(
    changed: dict[str, JsonValue], differ: list[str]
) -> None:
    before, after = controls_for(), controls_for(**changed)
    expected = (
        {*differ, "untrained"} if "pooling" in changed or "wide_dim" in changed else {*differ}
    )
    assert {name for name in before if before[name] != after[name]} == expected


def test_the_schema_names_every_section() -> None:
    assert set(workload.schema()["properties"]) == {
        "data",
        "model",
        "method",
        "views",
        "train",
        "evaluate",
        "randomness",
    }


def test_the_data_fingerprint_follows_the_data_and_nothing_else() -> None:
    one = workload.check({"data": {"name": "strokes", "classes": 20}})
    other = workload.check({"data": {"name": "strokes", "classes": 21}})
    trained = workload.check({"data": {"name": "strokes", "classes": 20}, "train": {"epochs": 3}})
    assert workload.data_fingerprint(one) == workload.data_fingerprint(trained)
    assert workload.data_fingerprint(one) != workload.data_fingerprint(other)


def test_an_unset_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GCUDML_DATA", raising=False)
    params = workload.check(
        {"data": {"name": "folder", "root": "$GCUDML_DATA/omniglot", "source": "get it from X"}}
    )
    with pytest.raises(ValueError, match=r"data\.root: .*GCUDML_DATA.*is not set.*get it from X"):
        workload.data_fingerprint(params)


def test_run_crosses_the_border_with_plain_values(tmp_path: Path) -> None:
    params = workload.check(tiny().model_dump(mode="json"))
    recorder = Recorder()
    results = workload.run(params, seed=0, workdir=tmp_path, report=recorder, test=False)
    assert all(type(value) in (int, float) for value in results.values())
    assert all(type(v) in (int, float) for epoch in recorder.epochs for v in epoch.values())
    assert all("/" in name for name in results)


def test_parameters_that_the_images_cannot_serve_are_refused_before_training() -> None:
    params = workload.check(tiny(method={"clusters": 65}).model_dump(mode="json"))
    with pytest.raises(ValueError, match=r"^method\.clusters: 65 clusters of 64 training images"):
        workload.data_fingerprint(params)


def test_a_broken_image_is_named_before_training(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / name).mkdir()
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    whole = (tmp_path / "c" / "1.png").read_bytes()
    (tmp_path / "c" / "1.png").write_bytes(whole[: len(whole) // 2])
    data = {"name": "folder", "root": str(tmp_path), "split": {"val": 2, "test": 2}}
    with pytest.raises(ValueError, match=r"^data\.root: .*c/1\.png"):
        workload.data_fingerprint(workload.check({"data": data}))


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "file" / "cache"))
    params = workload.check({"data": {"name": "strokes", "classes": 23}})
    with pytest.raises(ValueError, match=r"^data: cannot write .*; set GCUDML_CACHE"):
        workload.data_fingerprint(params)


def images_in(root: Path) -> dict[str, object]:
    """Six classes of three images each, and parameters that name them."""
    for place, name in enumerate("abcdef"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((16, 16), 40 * place + number, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    data = {"name": "folder", "root": str(root), "split": {"val": 2, "test": 2}}
    settings = {"method": {"name": "pixels"}, "evaluate": {"k": [1]}}
    return workload.check({"data": data | {"image_size": 16}} | settings)


def edit(root: Path) -> None:
    Image.fromarray(np.full((16, 16), 255, dtype=np.uint8)).save(root / "a" / "1.png")


def add(root: Path) -> None:
    Image.fromarray(np.full((16, 16), 255, dtype=np.uint8)).save(root / "a" / "4.png")


def take_away(root: Path) -> None:
    (root / "a" / "1.png").unlink()


def flip(root: Path) -> None:
    """Other content, the same size and time of change, and still an image."""
    path = root / "a" / "1.png"
    whole, status = path.read_bytes(), path.stat()
    Image.fromarray(np.full((16, 16), 2, dtype=np.uint8)).save(path)
    assert len(path.read_bytes()) == len(whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def save_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights of the tiny network, which are returned."""
    maps = context_for().student.features.maps.state_dict()
    state = {name: value.contiguous().clone() for name, value in maps.items()}
    torch.save(state, path)
    return state


@pytest.mark.parametrize("change", [edit, add, take_away, flip])
@pytest.mark.parametrize("settled_s", [0.0, 2.0])
def test_images_that_change_within_a_process_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: object, settled_s: float
) -> None:
    monkeypatch.setattr(files_module, "SETTLED_S", settled_s)
    params = images_in(tmp_path / "images")
    before = workload.data_fingerprint(params)
    assert workload.data_fingerprint(params) == before
    change(tmp_path / "images")
    assert workload.data_fingerprint(params) != before


def test_images_that_stay_are_looked_at_and_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "SETTLED_S", 0.0)
    params = images_in(tmp_path / "images")
    before = workload.data_fingerprint(params)
    monkeypatch.setattr(workload, "_decode", None)
    assert workload.data_fingerprint(params) == before


def test_files_from_the_future_are_not_read_again_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "SETTLED_S", 0.0)
    params = images_in(tmp_path / "images")
    path = tmp_path / "weights.pt"
    save_weights(path)
    later = time.time() + 3600
    for file in (path, *(tmp_path / "images").rglob("*.png")):
        os.utime(file, (later, later))
    model = {"weights": str(path), "input_format": "unit"}
    with_weights = workload.check(tiny(model=model).model_dump(mode="json"))
    before = [workload.data_fingerprint(each) for each in (params, with_weights)]
    monkeypatch.setattr(workload, "_decode", None)
    monkeypatch.setattr(workload, "weights_digest", None)
    assert [workload.data_fingerprint(each) for each in (params, with_weights)] == before


def test_a_file_from_the_future_hides_no_file_that_has_just_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig.model_validate(images_in(tmp_path / "images")).data
    now = time.time_ns()
    old, future = now - 60 * 10**9, now + 3600 * 10**9
    stamps = {"1.png": Stamp(9, future, old), "2.png": Stamp(9, now, now)}
    monkeypatch.setattr(
        datasets, "stamp_of", lambda path: stamps.get(Path(path).name, Stamp(9, old, old))
    )
    assert not datasets.glance(config).is_settled
    del stamps["2.png"]
    assert datasets.glance(config).is_settled


def test_a_look_at_many_files_serves_the_calls_right_after_it_until_parameters_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "SETTLED_S", 0.0)
    monkeypatch.setattr(workload, "MANY_FILES", 0)
    monkeypatch.setattr(workload, "GOOD_FOR_S", 60.0)
    params = images_in(tmp_path / "images")
    before = [workload.data_fingerprint(params) for _ in range(2)][1]
    edit(tmp_path / "images")
    assert workload.data_fingerprint(params) == before
    assert workload.data_fingerprint(workload.check(params)) != before


def test_a_damaged_cache_file_is_made_anew_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files_module, "SETTLED_S", 0.0)
    params = images_in(tmp_path / "images")
    before = workload.data_fingerprint(params)
    files = sorted((tmp_path / "cache" / "images").glob("*.npy"))
    whole = [path.read_bytes() for path in files]
    for path in files:
        flip_byte(path, 300, 16)
    assert workload.data_fingerprint(params) == before
    assert [path.read_bytes() for path in files] == whole
    assert capsys.readouterr().err.count(".npy: damaged") == len(files) == 3


def test_larger_images_for_views_are_made_and_verified_as_well(tmp_path: Path) -> None:
    params = images_in(tmp_path / "images")
    data = params["data"]
    assert isinstance(data, Mapping)
    workload.data_fingerprint(workload.check(params | {"data": data | {"view_size": 20}}))
    assert len(list((tmp_path / "cache" / "images").glob("*.npy"))) == 4


def test_a_cache_that_moves_is_filled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "SETTLED_S", 0.0)
    params = images_in(tmp_path / "images")
    before = workload.data_fingerprint(params)
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "other"))
    assert workload.data_fingerprint(params) == before
    assert len(list((tmp_path / "other" / "images").glob("*.npy"))) == 3


@pytest.mark.parametrize("settled_s", [0.0, 2.0])
def test_a_replaced_file_of_weights_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled_s: float
) -> None:
    monkeypatch.setattr(files_module, "SETTLED_S", settled_s)
    path = tmp_path / "weights.pt"
    state = save_weights(path)
    model = {"weights": str(path), "input_format": "unit"}
    params = workload.check(tiny(model=model).model_dump(mode="json"))
    before = workload.data_fingerprint(params)
    assert workload.data_fingerprint(params) == before
    status, whole = path.stat(), path.read_bytes()
    torch.save({name: value * 2 for name, value in state.items()}, path)
    assert len(path.read_bytes()) == len(whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert workload.data_fingerprint(params) != before
    path.unlink()
    with pytest.raises(ValueError, match=r"^model\.weights: no file"):
        workload.data_fingerprint(params)


def test_a_run_that_pins_no_source_of_randomness_keeps_its_identity() -> None:
    assert "randomness" not in workload.check({})
    assert workload.check({"randomness": {}}) == workload.check({})
    assert workload.check({"randomness": {"views": 3}})["randomness"] == {"views": 3}


def test_every_declared_source_can_be_pinned_and_no_control_pins_any() -> None:
    params = workload.check({})
    for source, key in workload.random_sources(params).items():
        section, _, name = key.partition(".")
        assert workload.check({section: {name: 3}})["randomness"] == {source: 3}
    pinned = workload.check({"randomness": {"weights": 3}})
    assert workload.controls(pinned) == workload.controls(params)
    assert all(control["randomness"] == {} for control in workload.controls(pinned).values())
