"""Numbered versions of the rules for proposing and pruning; a search keeps those it began with.

A resumed search must propose and prune exactly as if it had not been interrupted. The study record
therefore stores the rules, and newer versions of this program still apply them:

1. Samplers see only those baseline values that the study names. ``wilcoxon`` applies an ordinary
   test after every seed.
2. Samplers see the baseline's value on every axis. The error rate of ``wilcoxon`` holds over all
   of its looks at the data.
"""

from __future__ import annotations

from harness.errors import InputError
from harness.study.loading import Loaded
from harness.study.spec import LEAST_WILCOXON_SEEDS, too_few_seeds

FIRST_RULES = 1
"""The rules of records that do not store any."""
NEWEST_RULES = 2


def check_rules(loaded: Loaded, rules: int) -> None:
    """Refuse a search that these rules do not support.

    Raises:
        InputError: a newer version of this program began the search, or it has too few seeds.
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
