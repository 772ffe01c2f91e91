"""The border: what a workload must offer, and which of its code is part of a run's identity."""

from harness.workload.border import JsonValue, Params, Report, Workload, load_workload

__all__ = ["JsonValue", "Params", "Report", "Workload", "load_workload"]
