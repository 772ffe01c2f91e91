"""Runs with a frozen trunk: equal to running the trunk at every step, and its features are shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from flip import flip_byte
from method_settings import METHODS as ALL_METHODS
from tiny import Recorder, tiny, train_tiny

import gcudml
from gcudml import workload
from gcudml.config import RunConfig
from gcudml.data.datasets import load
from gcudml.data.views import random_views, to_unit
from gcudml.methods import build_method, build_student, known_labels
from gcudml.methods.interface import Batch, RunContext
from gcudml.models.frozen import FrozenTrunk
from gcudml.models.inference import RandomViews
from gcudml.models.number_format import Format
from gcudml.runtime.files import cache_folder
from gcudml.runtime.seeding import derive, generator
from gcudml.training.optimizers import head_optimizer, set_learning_rate, student_optimizer
from gcudml.training.run import run

METHODS: dict[str, dict[str, Any]] = {
    "gcudml": {"name": "gcudml", "clusters": 8, "groups": 2},
    "stml": {"name": "stml", "neighbours": 4},
    "stml, independent": {"name": "stml", "neighbours": 4, "init_teacher": "independent"},
    "udml_ss": {"name": "udml_ss", "clusters": 8, "weights": {"rotation": 0}},
    "cbswr": {"name": "cbswr", "clusters": 8, "weights": {"reconstruction": 0}},
    "instance": {"name": "instance"},
    "supervised": {"name": "supervised"},
}
FROZEN = {"trunk": "frozen", "frozen_views": 3, "steps_per_epoch": 2}


def frozen(**sections: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of a tiny run with a frozen trunk."""
    return sections | {
        "train": FROZEN | dict(sections.get("train", {})),
        "model": {"pooling": "avg"} | dict(sections.get("model", {})),
    }


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, Any]:
    """A model section with weights from a file, which do not depend on the seed."""
    return saved_weights(tmp_path / "trunk.pt", seed=7)


def saved_weights(path: Path, *, seed: int) -> dict[str, Any]:
    trunk = build_student(tiny(model={"pooling": "avg"}), channels=1, seed=seed).features
    torch.save(trunk.maps.state_dict(), path)
    return {"weights": str(path), "input_format": "unit", "pooling": "avg"}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Receives the number of views of each set of features that is computed."""
    found: list[int] = []
    compute = FrozenTrunk._compute

    def count(trunk: FrozenTrunk, images: torch.Tensor, views: Any) -> Iterator[Any]:
        found.append(len(views))
        return compute(trunk, images, views)

    monkeypatch.setattr(FrozenTrunk, "_compute", count)
    return found


def oracle(config: RunConfig, *, seed: int) -> dict[str, torch.Tensor]:
    """Heads trained by running the whole network on pixels: evaluation mode, trunk without gradient."""
    data = load(config.data, "train")
    images, classes = torch.from_numpy(data.images.copy()), torch.from_numpy(data.labels)
    views = torch.stack(
        [
            random_views(images, config.views, generator=generator(0, "frozen views", view))
            for view in range(config.train.frozen_views)
        ]
    )
    student = build_student(config, channels=1, seed=derive(seed, "weights")).eval()
    student.features.requires_grad_(False)
    known, number_format = known_labels(config, classes), Format("fp32", "contiguous")
    context = RunContext(config, seed, student, images, known, classes, number_format)
    method = build_method(context)
    optimizers = [student_optimizer(student, method.parameters(), config.train)]
    step = 0
    for epoch in range(config.train.epochs):
        plan = method.begin_epoch(epoch)
        if plan.replaces_parameters and method.replaced_parameters():
            replaced = head_optimizer(method.replaced_parameters(), config.train)
            optimizers = [optimizers[0], replaced]
        randomness = generator(seed, "views", epoch)
        torch.manual_seed(derive(seed, "libraries", epoch))
        for position, places in enumerate(plan.batches):
            set_learning_rate(optimizers, config.train, done=epoch + position / len(plan.batches))
            uniform = torch.rand(places.shape[1], len(views), generator=randomness)
            drawn = uniform.argsort(dim=1)[:, : len(places)].T
            shown = views[drawn, places].flatten(0, 1)
            embeddings = student(shown)
            terms = method.loss_terms(Batch(shown, places.flatten(), step), embeddings)
            for optimizer in optimizers:
                optimizer.zero_grad()
            sum(method.weights[name] * term for name, term in terms.items()).backward()
            for optimizer in optimizers:
                optimizer.step()
            method.after_step(step)
            step += 1
    return student.state_dict()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_frozen_run_equals_one_that_runs_the_trunk_at_every_step(
    tmp_path: Path, weights: dict[str, Any], method: Any
) -> None:
    sections = frozen(method=method, model=weights, data={"protocol": "published"})
    train_tiny(tmp_path, seed=1, **sections)
    found = gcudml.load(tmp_path, device="cpu").network.state_dict()
    wanted = oracle(tiny(**sections), seed=1)
    start = build_student(tiny(**sections), channels=1, seed=derive(1, "weights")).state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if name.startswith("features."):
            assert torch.equal(found[name], start[name])
        else:
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found["compact.weight"], start["compact.weight"])


def test_the_saved_model_embeds_images_as_the_run_did(tmp_path: Path) -> None:
    sections = frozen(method={"name": "instance"})
    results, _ = train_tiny(tmp_path, test=True, **sections)
    model = gcudml.load(tmp_path, device="cpu")
    test = load(tiny(**sections).data, "test")
    embeddings = model(torch.from_numpy(test.images.copy()))
    similarity = torch.nn.functional.normalize(embeddings, dim=1)
    similarity = (similarity @ similarity.T).fill_diagonal_(-2)
    labels = torch.from_numpy(test.labels)
    hits = (labels[similarity.argmax(dim=1)] == labels).double().mean()
    assert results["test/recall@1"] == pytest.approx(float(hits), abs=1 / len(labels))


def test_the_criterion_sees_the_views_of_a_run_that_trains_its_trunk(tmp_path: Path) -> None:
    untrained = {"name": "untrained"}
    usual, _ = train_tiny(tmp_path / "a", test=True, method=untrained)
    results, _ = train_tiny(tmp_path / "b", test=True, method=untrained, train=FROZEN)
    assert results == pytest.approx(usual, abs=2 / usual["val/queries"])


def test_features_are_computed_once_for_all_seeds_and_trials(
    tmp_path: Path, weights: dict[str, Any], computed: list[int]
) -> None:
    def train(name: str, seed: int = 0, **sections: Any) -> list[int]:
        computed.clear()
        given = {"method": METHODS["instance"], "model": weights, "train": {"epochs": 1}}
        train_tiny(tmp_path / name, seed=seed, **frozen(**given | sections))
        return sorted(computed)

    views, unchanged, criterion = 3, 1, 2
    assert train("first") == [unchanged, unchanged, criterion, views]  # of training and validation
    assert train("again") == []
    assert train("another seed", seed=1) == [criterion]  # whose views depend on the seed
    assert train("another method", method=METHODS["gcudml"]) == []
    assert train("other heads", model=weights | {"embedding_dim": 5, "head_init": "default"}) == []
    moved = saved_weights(tmp_path / "moved.pt", seed=7)
    assert train("the same weights elsewhere", model=moved) == []
    assert train("other views", views={"flip": 0.5}) == [views]
    assert train("more views", train={"frozen_views": 4}) == [4]
    everything = [unchanged, unchanged, criterion, views]
    assert train("other pooling", model=weights | {"pooling": "max"}) == everything
    assert train("another format", train={"number_format": "bf16"}) == everything
    assert train("other images", data={"variation": 0.5}) == everything
    others = saved_weights(tmp_path / "others.pt", seed=8)
    assert train("other weights", model=others) == everything


def test_without_pretrained_weights_each_seed_has_features_of_its_own(
    tmp_path: Path, computed: list[int]
) -> None:
    for seed in (0, 1):
        train_tiny(tmp_path / str(seed), seed=seed, **frozen(method=METHODS["instance"]))
    assert sorted(computed) == 2 * [1] + 2 * [1] + 2 * [2] + 2 * [3]


def test_a_damaged_file_of_features_is_noticed_and_computed_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = frozen(method=METHODS["instance"], train={"epochs": 1})
    sound, _ = train_tiny(tmp_path / "a", test=True, **sections)
    files = sorted((cache_folder() / "features").glob("*.npy"))
    assert len(files) == 6
    for path in files:
        whole = path.read_bytes()
        flip_byte(path, len(whole) // 2, 64)
        capsys.readouterr()
        again, _ = train_tiny(tmp_path / path.stem, test=True, **sections)
        assert again == sound
        assert path.read_bytes() == whole
        assert f"{path}: damaged" in capsys.readouterr().err


def test_a_resumed_run_ends_like_one_that_was_never_stopped(tmp_path: Path) -> None:
    sections = frozen(method=METHODS["gcudml"])
    whole, _ = train_tiny(tmp_path / "whole", test=True, **sections)
    config = tiny(**sections)
    run(config, seed=0, workdir=tmp_path / "cut", report=Recorder(most=1), test=True)
    kept = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["content"]
    assert not [name for name in kept["student"] if name.startswith("features.")]
    epochs: list[int] = []

    def note(epoch: int, metrics: Mapping[str, float]) -> bool:
        epochs.append(epoch)
        return True

    assert run(config, seed=0, workdir=tmp_path / "cut", report=note, test=True) == whole
    assert epochs == [1]


def test_views_are_cut_from_the_larger_images(tmp_path: Path) -> None:
    image = torch.arange(2 * 32 * 32).remainder(256).to(torch.uint8).view(2, 1, 32, 32)
    config = tiny(data={"crop_size": 16}, **frozen())
    student = build_student(config, channels=1, seed=0)
    whole = build_student(config, channels=1, seed=0).eval()
    trunk = FrozenTrunk(student, config, Format("fp32", "contiguous"))
    found = trunk.training_views(image, of="larger")
    views = RandomViews(config.views, generator(0, "frozen views", 2))
    shown = random_views(image, views.config, generator=views.generator, size=16)
    with torch.no_grad():
        wanted = whole.features(shown)
    torch.testing.assert_close(torch.from_numpy(found[2]).flatten(1), wanted)
    plain = torch.from_numpy(trunk.features(image, of="plain")[0]).flatten(1)
    with torch.no_grad():
        torch.testing.assert_close(plain, whole.features(to_unit(image[:, :, 8:24, 8:24])))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"method": {"name": "gce"}}, "train.trunk: the compact head of method gce"),
        ({"method": {"name": "udml_ss"}}, "method.weights.rotation to 0"),
        ({"method": {"name": "cbswr"}}, "method.weights.reconstruction to 0"),
        (
            {"method": {"name": "cbswr", "weights": {"reconstruction": 0}}},
            r"model.pooling is avg\+max; set it to avg",
        ),
        (
            {"method": {"name": "stml"}, "data": {"name": "strokes", "crop_size": 20}},
            "method.neighbours_on",
        ),
        ({"train": {"frozen_views": 1}}, "train.frozen_views: 1 stored views"),
        ({"train": {"frozen_views": 0}}, "train.frozen_views: "),
        ({"train": {"trunk": "freezed"}}, "train.trunk: .*'trained' or 'frozen', got 'freezed'"),
    ],
)
def test_what_a_frozen_trunk_cannot_serve_is_refused_in_one_line(
    sections: dict[str, Any], message: str
) -> None:
    given = sections | {"train": {"trunk": "frozen"} | sections.get("train", {})}
    with pytest.raises(ValueError, match=message) as caught:
        workload.check(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ALL_METHODS)
def test_a_method_is_compared_above_or_refused_whatever_its_settings(name: str) -> None:
    if name in METHODS:
        workload.check(frozen(method=METHODS[name]))
    else:
        with pytest.raises(ValueError, match=f"train.trunk: .* method {name} "):
            workload.check(frozen(method={"name": name}))
