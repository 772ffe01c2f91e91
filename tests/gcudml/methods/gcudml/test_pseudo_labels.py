"""Groups of clusters, median re-sampling and cluster diagnostics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcudml.methods.gcudml.pseudo_labels import (
    group_ends_by_count,
    group_ends_by_ratio,
    keep_rates,
    order_clusters,
    sample_for_groups,
)


def order(labels: list[int], **changes: object):
    options = {"groups": 2, "ratio": None, "floor": 1, "grouping": "size"} | changes
    return order_clusters(
        torch.tensor(labels),
        clusters=max(labels) + 1,
        generator=torch.Generator().manual_seed(0),
        **options,
    )


def slow_ratio_groups(sizes: list[int], ratio: float, floor: int) -> list[list[int]]:
    """SHA-GCL's walk in its own words: a list of groups of positions."""
    groups, head = [[0]], sizes[0]
    for position in range(1, len(sizes)):
        if sizes[position] < int(head / ratio) and int(head / ratio) >= floor:
            groups.append([])
            head = sizes[position]
        groups[-1].append(position)
    return groups


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("ratio", "floor"), [(4.0, 5), (2.0, 1), (1.5, 20)])
def test_the_ratio_rule_equals_the_slow_walk(seed: int, ratio: float, floor: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = sorted((int(x) for x in rng.lognormal(4, 1.2, 40)), reverse=True)
    ends = group_ends_by_ratio(sizes, ratio, floor)
    slow = np.cumsum([len(group) for group in slow_ratio_groups(sizes, ratio, floor)])
    assert list(ends) == slow.tolist()


def test_the_ratio_holds_in_all_groups_but_the_last() -> None:
    sizes = [1000, 900, 300, 200, 60, 50, 40, 12, 9, 3, 1]
    ends = group_ends_by_ratio(sizes, 4.0, 10)
    starts = (0, *ends[:-1])
    for start, end in list(zip(starts, ends, strict=True))[:-1]:
        assert sizes[end - 1] >= int(sizes[start] / 4.0)
    assert ends[-1] == len(sizes)


@pytest.mark.parametrize("groups", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(
    "sizes",
    [
        [9, 8, 7, 6, 5, 4, 3, 2],
        [500, 3, 3, 3, 2, 2, 1, 1],
        [7] * 8,
        [90, 80, 70, 60, 50, 40, 30, 1],
    ],
)
def test_exactly_so_many_groups_come_out_and_none_is_empty(sizes: list[int], groups: int) -> None:
    ends = group_ends_by_count(sizes, groups)
    assert len(ends) == groups
    assert ends[-1] == len(sizes)
    assert all(b > a for a, b in zip((0, *ends), ends, strict=False))


def test_groups_have_equal_log_ranges_where_sizes_allow() -> None:
    assert group_ends_by_count([1000, 500, 200, 90, 40, 20, 9, 5, 2, 1], 3) == (3, 6, 10)


def test_clusters_are_renumbered_by_falling_size() -> None:
    pseudo = order([2, 2, 2, 0, 0, 1, 3, 3, 3, 3])
    assert pseudo.sizes.tolist() == [4, 3, 2, 1]
    assert pseudo.labels.tolist() == [1, 1, 1, 2, 2, 3, 0, 0, 0, 0]
    assert pseudo.ends[-1] == 4


def test_images_of_one_cluster_stay_together_in_random_groups() -> None:
    labels = [0] * 9 + [1] * 5 + [2] * 3 + [3] * 2 + [4]
    sized, shuffled = order(labels, groups=3), order(labels, groups=3, grouping="random")
    assert shuffled.ends == sized.ends
    assert sorted(shuffled.sizes.tolist()) == sorted(sized.sizes.tolist())
    assert torch.equal(torch.bincount(shuffled.labels), shuffled.sizes)
    assert shuffled.sizes.tolist() != sized.sizes.tolist()


def test_group_of_names_each_clusters_group() -> None:
    pseudo = order([0] * 100 + [1] * 90 + [2] * 10 + [3] * 9 + [4], groups=3)
    assert pseudo.ends == (2, 4, 5)
    assert pseudo.group_of.tolist() == [0, 0, 1, 1, 2]


def test_keep_rates_are_the_median_over_the_size() -> None:
    sizes = torch.tensor([40, 20, 10, 4])
    rates = keep_rates(sizes, [2, 4])
    torch.testing.assert_close(
        rates, torch.tensor([[30 / 40, 1.0, 0.0, 0.0], [15 / 40, 15 / 20, 1.0, 1.0]])
    )


def test_larger_clusters_are_never_kept_more() -> None:
    sizes = torch.tensor(sorted(range(1, 60), reverse=True))
    for k, end in enumerate((10, 30, 59)):
        rates = keep_rates(sizes, (10, 30, 59))[k, :end]
        assert (rates.diff() >= 0).all()
        assert (rates > 0).all()
        assert (rates <= 1).all()


def test_subsets_hold_known_clusters_only_and_are_nested_upwards() -> None:
    pseudo = order([0] * 400 + [1] * 100 + [2] * 50 + [3] * 10, groups=3)
    sampled = sample_for_groups(pseudo, generator=torch.Generator().manual_seed(1))
    for k, end in enumerate(pseudo.ends):
        assert not sampled[k, pseudo.labels >= end].any()
    group = pseudo.group_of[pseudo.labels]
    for k in range(len(pseudo.ends) - 1):  # medians fall with k, so a kept image was kept before
        own = group <= k
        assert not (sampled[k + 1] & ~sampled[k] & own).any()


def test_the_share_of_kept_images_follows_the_rate() -> None:
    pseudo = order([0] * 30_000 + [1] * 10_000 + [2] * 10_000, groups=1)
    sampled = sample_for_groups(pseudo, generator=torch.Generator().manual_seed(2))
    kept = sampled[0, pseudo.labels == 0].double().mean().item()
    assert kept == pytest.approx(1 / 3, abs=0.02)  # 5 standard errors of a share of 30,000
