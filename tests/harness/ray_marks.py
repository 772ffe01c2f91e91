"""What tests that need a Ray cluster on this machine are marked with."""

from __future__ import annotations

import importlib.util

import pytest

IS_MISSING = importlib.util.find_spec("ray") is None
ON_RAY = [
    pytest.mark.ray,
    pytest.mark.skipif(IS_MISSING, reason='needs Ray: pip install "gcudml-harness[ray]"'),
    pytest.mark.timeout(120),  # a cluster takes 10 s to start
]
