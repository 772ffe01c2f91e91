"""Numbered rules for proposing and pruning: a search ends by the rules it began with.

A resumed search must propose and prune as the uninterrupted one would have. So its study record
names the rules, and a new version of this program goes on by them:

1. Samplers are told of the baseline only the values that the study names for it. ``wilcoxon`` asks
   an ordinary test after every seed.
2. Samplers are told the baseline's value on every axis. The error of ``wilcoxon`` holds over all
   the times that it looks.
"""

from __future__ import annotations

from harness.errors import InputError
from harness.study.loading import Loaded
from harness.study.spec import LEAST_WILCOXON_SEEDS, too_few_seeds

FIRST_RULES = 1
"""Rules of records that name none."""
NEWEST_RULES = 2


def check_rules(loaded: Loaded, rules: int) -> None:
    """Refuse a search to which these rules cannot be applied.

    Raises:
        InputError: it began in a newer version of this program, or has too few seeds.
    """
    spec = loaded.spec
    if not FIRST_RULES <= rules <= NEWEST_RULES:
        raise InputError(
            f"{loaded.source.where(('study',))}: study {spec.study!r} began in a newer version of "
            f"this program (rules {rules}, known up to {NEWEST_RULES}); update the program"
        )
    is_new = rules > FIRST_RULES and spec.pruner == "wilcoxon"
    if is_new and len(spec.seed_list) < LEAST_WILCOXON_SEEDS:
        where = loaded.source.where(("pruner",))
        raise InputError(f"{where}: {too_few_seeds(len(spec.seed_list))}")
