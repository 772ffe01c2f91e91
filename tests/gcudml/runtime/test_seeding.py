"""Random streams: equal for equal paths, unrelated otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcudml.runtime.seeding import (
    STREAMS,
    derive,
    generator,
    numpy_generator,
    run_seed,
    seed_behind,
)


def test_equal_paths_give_equal_numbers() -> None:
    first, second = (torch.rand(5, generator=generator(3, "views", 7)) for _ in range(2))
    assert torch.equal(first, second)
    a, b = (numpy_generator(3, "views", 7).random(5) for _ in range(2))
    assert np.array_equal(a, b)


@pytest.mark.parametrize(
    "other", [(4, "views", 7), (3, "batches", 7), (3, "views", 8), (3, "views"), (3, "views", "7")]
)
def test_any_change_of_the_path_gives_another_stream(other: tuple[int, str, int]) -> None:
    assert derive(3, "views", 7) != derive(*other)


def test_parts_of_a_path_do_not_run_together() -> None:
    assert derive(1, "a/b") != derive(1, "a", "b")
    assert derive(1, 2, 3) != derive(1, 23)


def test_a_derived_seed_is_stable_and_fits_63_bits() -> None:
    # A stored run names only its seed: another machine or release must derive the same numbers.
    assert derive(0, "weights") == 3970454144645209345
    assert all(0 <= derive(seed, "x") < 2**63 for seed in (-1, 0, 2**70))


def test_the_global_random_state_is_not_used() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    torch.rand(3, generator=generator(0, "x"))
    assert torch.equal(before, torch.get_rng_state())


def test_a_pinned_source_ignores_the_seed_of_the_run_and_no_other_source_does() -> None:
    one, other = (run_seed(seed, {"k-means": 9}) for seed in (1, 2))
    for source, streams in STREAMS.items():
        for stream in streams:
            is_equal = derive(one, stream, 5) == derive(other, stream, 5)
            assert is_equal == (source == "k-means"), stream
    assert derive(one, "k-means", 5) == derive(9, "k-means", 5)
    assert derive(one, "views", 5) == derive(1, "views", 5)
    assert (seed_behind(one, "k-means"), int(one)) == (9, 1)


def test_a_run_that_pins_nothing_keeps_its_seed() -> None:
    assert run_seed(3, {}) == 3
