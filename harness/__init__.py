"""The ablation engine: studies, trials, runs and numbers, but no tensors.

From Python: ``harness.run(study)`` and ``harness.load(results)``; see ``harness.api``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.api import load as load
    from harness.api import run as run

__all__ = ["load", "run"]


def __getattr__(name: str) -> object:
    # On first use: the store and its libraries take half a second, too long for `harness --help`.
    if name in __all__:
        from harness import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
