"""Runs trained together: the same as one after another, whatever they differ in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Recorder, tiny, train_tiny
from torch import Tensor, nn

from gcudml import workload
from gcudml.config import ModelConfig, RunConfig
from gcudml.models.embedding import Embedder, Embeddings, TeacherNet
from gcudml.models.number_format import Format
from gcudml.runtime import fused
from gcudml.runtime.files import write_sealed
from gcudml.training import fusion_speedup
from gcudml.training.run import run

CPU = torch.device("cpu")


def together_tiny(
    folder: Path, runs: list[Mapping[str, Any]], *, most_epochs: Mapping[int, int] | None = None
) -> list[tuple[dict[str, float], list[dict[str, float]]]]:
    """Results and epochs of tiny runs with seeds 0, 1, ..., trained together."""
    found: dict[int, tuple[dict[str, float], list[dict[str, float]]]] = {}

    def call(number: int) -> Callable[[], None]:
        def train() -> None:
            recorder = Recorder((most_epochs or {}).get(number, 10**9))
            results = run(
                tiny(**runs[number]),
                seed=number,
                workdir=folder / str(number),
                report=recorder,
                test=True,
            )
            found[number] = (results, recorder.epochs)

        return train

    fused.train_together([call(number) for number in range(len(runs))])
    return [found[number] for number in range(len(runs))]


def assert_close(one: Mapping[str, float], other: Mapping[str, float]) -> None:
    """One epoch's numbers: what is told of the validation images counts queries, see below."""
    assert one.keys() == other.keys()
    names = {name for name in one if not name.startswith("seconds/")}
    scores = {name for name in names if name.startswith("val/")}
    assert {n: one[n] for n in names - scores} == pytest.approx(
        {n: other[n] for n in names - scores}, rel=2e-3, abs=2e-5
    )
    assert_alike({n: one[n] for n in scores}, {n: other[n] for n in scores}, "val")


def assert_alike(one: Mapping[str, float], other: Mapping[str, float], part: str = "test") -> None:
    """Results may differ by a query or two: of images that are all but equally near, rounding says
    which one comes first."""
    assert one == pytest.approx(other, abs=2 / other[f"{part}/queries"])


def assert_as_compute_single(
    folder: Path,
    runs: list[dict[str, Any]],
    found: list[tuple[dict[str, float], list[dict[str, float]]]],
) -> None:
    """Results and every epoch of each run are those of the run by itself."""
    for seed, each in enumerate(runs):
        results, epochs = train_tiny(folder / f"alone {seed}", seed=seed, test=True, **each)
        assert_alike(found[seed][0], results)
        for mine, theirs in zip(found[seed][1], epochs, strict=True):
            assert_close(mine, theirs)


METHODS: dict[str, dict[str, Any]] = {
    "gcudml": {"name": "gcudml", "clusters": 8, "groups": 2},
    "gcudml, all heads": {
        "name": "gcudml",
        "clusters": 8,
        "groups": 2,
        "metric_on": "both",
        "group_loss": "pair",
        "weights": {"collaborative": 0.0},
    },
    "stml": {"name": "stml"},
    "udml_ss": {"name": "udml_ss", "clusters": 8},
    "cbswr": {"name": "cbswr", "clusters": 8},
    "gce": {"name": "gce", "labels": "pseudo", "learners": 2, "clusters": 8},
    "instance": {"name": "instance"},
    "supervised": {"name": "supervised"},
}


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[fused._LockstepGroup]:
    """The groups that are started during a test."""
    kept: list[fused._LockstepGroup] = []

    class Kept(fused._LockstepGroup):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            kept.append(self)

    monkeypatch.setattr(fused, "_LockstepGroup", Kept)
    return kept


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_runs_trained_together_end_as_they_do_compute_single(
    tmp_path: Path, groups: list[fused._LockstepGroup], method: Any
) -> None:
    rates = [{"learning_rate": 1e-3}, {"learning_rate": 3e-4, "weight_decay": 0.1}]
    runs = [{"method": method, "train": rate} for rate in rates]
    assert_as_compute_single(tmp_path, runs, together_tiny(tmp_path, runs))
    assert groups[0]._not_batched == set()
    facts = json.loads((tmp_path / "0" / "facts.json").read_text())
    assert facts["trained_together"] == 2


@pytest.mark.parametrize("start", ["identity", "svd", "half_whitened"])
def test_fitted_heads_and_the_generalised_mean_are_stacked(
    tmp_path: Path, groups: list[fused._LockstepGroup], start: str
) -> None:
    model = {"pooling": "gem", "head_init": start, "wide_dim": 8}
    runs = [{"model": model, "train": {"learning_rate": rate}} for rate in (1e-3, 3e-4)]
    assert len({workload.together(params(**each)) for each in runs}) == 1
    assert_as_compute_single(tmp_path, runs, together_tiny(tmp_path, runs))
    assert groups[0]._not_batched == set()


def test_heads_on_a_frozen_trunk_are_stacked_and_share_its_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked: list[torch.Size] = []
    original = fused._Forward.compute_batched

    def note(request: fused._Forward, requests: list[fused._Forward]) -> list[Any]:
        stacked.append(request.images.shape)
        return original(request, requests)

    monkeypatch.setattr(fused._Forward, "compute_batched", note)
    trunk = Embedder(tiny().model, channels=1, image_size=28, seed=7).features
    torch.save(trunk.maps.state_dict(), tmp_path / "trunk.pt")
    model = {"weights": str(tmp_path / "trunk.pt"), "input_format": "unit"}
    shared: dict[str, Any] = {"model": model, "method": METHODS["gcudml, all heads"]}
    rates = [{"learning_rate": 1e-3}, {"weight_decay": 0.1}]
    runs = [shared | {"train": {"trunk": "frozen"} | rate} for rate in rates]
    assert_as_compute_single(tmp_path, runs, together_tiny(tmp_path, runs))
    assert {shape[1:] for shape in stacked} == {(trunk.out_channels, 1, 1)}


def test_runs_may_differ_in_anything(tmp_path: Path) -> None:
    runs: list[dict[str, Any]] = [
        {"method": {"name": "gcudml", "clusters": 6, "groups": 3}},
        {"method": {"name": "stml"}, "model": {"width": 6, "embedding_dim": 8, "wide_dim": 12}},
        # With given labels: clusters would make other groups of a last digit of bf16.
        {"method": {"name": "supervised"}, "train": {"epochs": 3, "number_format": "bf16"}},
    ]
    found = together_tiny(tmp_path, runs)
    for seed, each in enumerate(runs):
        results, epochs = train_tiny(tmp_path / f"alone {seed}", seed=seed, test=True, **each)
        assert len(found[seed][1]) == len(epochs)
        assert_alike(found[seed][0], results)


def test_runs_with_other_terms_share_what_they_have_in_common(tmp_path: Path) -> None:
    weights = [{}, {"distillation": 0.0}, {"group": 0.0, "collaborative": 0.0}]
    runs = [{"method": {"weights": each}} for each in weights]
    assert len({workload.together(params(**each)) for each in runs}) == 1
    assert_as_compute_single(tmp_path, runs, together_tiny(tmp_path, runs))


def test_memory_that_runs_out_on_the_way_back_is_said_to_be_that() -> None:
    layers = [nn.Linear(2, 2), nn.Linear(2, 2)]
    errors: list[str] = []

    def run_out(gradient: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    def call(number: int) -> Callable[[], None]:
        def step() -> None:
            found = fused.forward(layers[number], torch.ones(1, 2))
            if number:
                found.register_hook(run_out)
            try:
                fused.backward(found.sum())
            except torch.OutOfMemoryError as error:
                errors.append(str(error))

        return step

    fused.train_together([call(0), call(1)])
    assert errors == ["out of memory"] * 2


def test_a_request_that_nobody_can_answer_wakes_whoever_asked() -> None:
    class Odd(nn.Linear):
        @property
        def training(self) -> bool:
            raise ValueError("no mode")

        @training.setter
        def training(self, mode: bool) -> None:
            pass

    def forward() -> None:
        fused.forward(Odd(2, 2), torch.ones(1, 2))

    with pytest.raises(ValueError, match="no mode"):
        fused.train_together([forward, forward])


def test_one_that_is_stopped_leaves_the_others_compute_single(tmp_path: Path) -> None:
    runs: list[Mapping[str, Any]] = [{}, {}, {}]
    found = together_tiny(tmp_path, runs, most_epochs={1: 1})
    assert found[1][0] == {}
    assert len(found[1][1]) == 1
    for seed in (0, 2):
        results, _ = train_tiny(tmp_path / f"alone {seed}", seed=seed, test=True)
        assert_alike(found[seed][0], results)


def test_one_that_fails_leaves_the_others_alone_and_is_heard(tmp_path: Path) -> None:
    results: dict[str, float] = {}

    def good() -> None:
        results.update(run(tiny(), seed=0, workdir=tmp_path / "0", report=Recorder(), test=True))

    def bad() -> None:
        fused.forward(nn.Linear(2, 2), torch.zeros(3, 4))

    with pytest.raises(RuntimeError, match="shapes"):
        fused.train_together([bad, good, bad])
    assert_alike(results, train_tiny(tmp_path / "alone", test=True)[0])


BACKBONES = [
    "conv4",
    "squeezenet1_1",
    "mobilenet_v2",
    pytest.param("efficientnet_lite0", marks=[pytest.mark.slow, pytest.mark.timeout(120)]),
    pytest.param("resnet18", marks=pytest.mark.slow),
    pytest.param("resnet50", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_stack_computes_outputs_gradients_and_statistics_of_each_network(backbone: str) -> None:
    config = ModelConfig(backbone=backbone, width=8, embedding_dim=8, wide_dim=12)
    images = torch.randn(2, 4, 3, 32, 32, dtype=torch.float64)

    def network(seed: int) -> Embedder:
        network = Embedder(config, channels=3, image_size=32, seed=seed)
        network.features.maps.double()  # the heads compute in single precision
        return network

    def total(embeddings: Embeddings) -> Tensor:
        return embeddings.compact.square().sum() + embeddings.wide.sin().sum()

    stacked = [network(seed) for seed in range(2)]

    def call(number: int) -> Callable[[], None]:
        def train() -> None:
            found = fused.forward(stacked[number], images[number])
            fused.backward(fused.loss(total_of, found.compact, found.wide))

        return train

    def total_of(compact: Tensor, wide: Tensor) -> Tensor:
        return compact.square().sum() + wide.sin().sum()

    fused.train_together([call(0), call(1)])
    for seed in range(2):
        alone = network(seed)
        total(alone(images[seed])).backward()
        for (name, one), other in zip(
            stacked[seed].named_parameters(), alone.parameters(), strict=True
        ):
            assert one.grad is not None, name
            assert other.grad is not None, name
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)
        for (name, one), other in zip(stacked[seed].named_buffers(), alone.buffers(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12, msg=name)


def test_equal_requests_are_one_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = fused._Forward.compute_batched
    monkeypatch.setattr(
        fused._Forward,
        "compute_batched",
        lambda self, requests: sizes.append(len(requests)) or original(self, requests),
    )
    config = ModelConfig(width=8, embedding_dim=8, wide_dim=12)
    students = [Embedder(config, channels=1, image_size=16, seed=seed) for seed in range(3)]
    teachers = [TeacherNet(student) for student in students]

    def call(number: int) -> Callable[[], None]:
        def step() -> None:
            images = torch.zeros(2, 1, 16, 16)
            fused.forward(students[number], images)
            with torch.no_grad():
                fused.forward(teachers[number], images)

        return step

    fused.train_together([call(number) for number in range(3)])
    assert sizes == [3, 3]


def test_one_run_is_awake_at_a_time_and_draws_its_own_numbers() -> None:
    awake: list[int] = []
    drawn: dict[int, list[float]] = {}
    layer = nn.Linear(2, 2)

    def call(number: int) -> Callable[[], None]:
        def draw() -> None:
            torch.manual_seed(number)
            drawn[number] = []
            for _ in range(5):
                awake.append(number)
                drawn[number].append(float(torch.rand(())))
                assert awake[-1] == number
                fused.forward(layer, torch.zeros(1, 2))

        return draw

    fused.train_together([call(number) for number in range(4)])
    for number, numbers in drawn.items():
        torch.manual_seed(number)
        assert numbers == [float(torch.rand(())) for _ in range(5)]
    assert awake == [0, 1, 2, 3] * 5


def test_modes_are_those_of_the_thread_that_asks() -> None:
    layer = nn.Linear(2, 2)
    has_gradient: dict[int, bool] = {}
    kinds: dict[int, torch.dtype] = {}

    def call(number: int) -> Callable[[], None]:
        def step() -> None:
            with (
                torch.set_grad_enabled(number % 2 == 0),
                torch.autocast("cpu", torch.bfloat16, enabled=number >= 2),
            ):
                found = fused.forward(layer, torch.zeros(1, 2))
            has_gradient[number], kinds[number] = found.requires_grad, found.dtype

        return step

    fused.train_together([call(number) for number in range(4)])
    assert has_gradient == {0: True, 1: False, 2: True, 3: False}
    plain, mixed = torch.float32, torch.bfloat16
    assert kinds == {0: plain, 1: plain, 2: mixed, 3: mixed}


def test_a_loss_that_cannot_be_stacked_is_computed_run_by_run() -> None:
    def positive_sum(x: Tensor) -> Tensor:
        return x[x > 0].sum()  # how many there are decides on shapes

    found: dict[int, float] = {}

    def call(number: int) -> Callable[[], None]:
        def step() -> None:
            for _ in range(2):
                found[number] = float(fused.loss(positive_sum, torch.arange(3.0) - number))

        return step

    fused.train_together([call(number) for number in range(3)])
    assert found == {0: 3.0, 1: 1.0, 2: 0.0}


def test_outside_nothing_is_a_thread() -> None:
    before = threading.active_count()
    assert fused.company() == 1
    assert float(fused.loss(torch.sum, torch.ones(3))) == 3.0
    assert threading.active_count() == before


def params(**sections: Mapping[str, Any]) -> dict[str, Any]:
    return tiny(**sections).model_dump(mode="json")


def test_runs_share_a_key_where_only_numbers_differ() -> None:
    key = workload.together(params())
    assert key is not None
    assert key[1] == 1  # on a CPU it does not pay
    same = [
        {"method": {"name": "gcudml", "teacher_momentum": 0.5, "clusters": 6}},
        {"train": {"learning_rate": 0.1, "weight_decay": 0.0}},
        {"views": {"rotate_deg": 3.0}},
    ]
    other = [
        {"method": {"name": "stml"}},
        {"model": {"width": 4}},
        {"train": {"batch_size": 12}},
        {"data": {"classes": 20}},
        {"train": {"trunk": "frozen"}},
    ]
    assert [workload.together(params(**each)) for each in same] == [key] * 3
    assert all(workload.together(params(**each))[0] != key[0] for each in other)  # type: ignore[index]


def test_controls_and_networks_with_dropout_are_trained_compute_single() -> None:
    for method in ("pixels", "untrained"):
        assert workload.together(params(method={"name": method})) is None
    assert workload.together(params(model={"backbone": "vit_b_16"})) is None
    frozen = params(model={"backbone": "vit_b_16"}, train={"trunk": "frozen"})
    assert workload.together(frozen) is not None  # only the heads are stacked


def test_a_device_that_is_not_here_is_for_the_run_to_refuse() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert workload.together(params(train={"device": "cuda"})) is None


def test_the_number_that_is_worth_it_saves_a_tenth_each_time() -> None:
    assert fusion_speedup.best_count({1: 10.0, 2: 9.5, 4: 8.0, 8: 7.9}) == 4
    assert fusion_speedup.best_count({1: 10.0, 2: 20.0, 4: 30.0}) == 1
    assert fusion_speedup.best_count({1: 10.0}) == 1


@pytest.mark.parametrize("trunk", ["trained", "frozen"])
def test_a_step_is_measured_for_each_number_of_runs(trunk: str) -> None:
    config: RunConfig = tiny(train={"trunk": trunk})
    measured = fusion_speedup.milliseconds_a_step(
        config, [1, 3], channels=1, number_format=Format("fp32", "contiguous"), device=CPU
    )
    assert measured.keys() == {1, 3}
    assert min(measured.values()) > 0


@pytest.mark.process
def test_a_process_of_its_own_measures_once_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path))
    monkeypatch.setattr(fusion_speedup, "COUNTS", (1, 2))
    first = fusion_speedup.kept_or_measured(tiny(), channels=1, device=CPU)
    (kept,) = (tmp_path / "together").glob("*.json")
    content = json.loads(kept.read_text())["content"]
    assert content["most"] == first
    assert content["ms_a_step_and_run"].keys() == {"1", "2"}
    write_sealed(kept, content | {"most": 5})
    asked = tiny(method={"name": "stml"}, train={"learning_rate": 0.5})
    assert fusion_speedup.most_together(asked, channels=1, device=torch.device("cuda")) == 5
