"""How near x and y come to the top of a hill: the border's three functions, and no torch.

Time is simulated: an epoch takes none, and reports the seconds that it is said to take.
"""

import json
import random

DEFAULTS = {"x": 0.0, "y": 0.0, "noise": 0.02, "epochs": 4, "epoch_seconds": 60.0}


def schema():
    fields = {name: {"type": "number", "default": value} for name, value in DEFAULTS.items()}
    return {"type": "object", "additionalProperties": False, "properties": fields}


def check(params):
    for name, value in params.items():
        if name not in DEFAULTS:
            raise ValueError(f"{name}: unknown; known: {', '.join(DEFAULTS)}")
        if isinstance(value, bool) or not isinstance(value, type(DEFAULTS[name]) | int):
            raise ValueError(f"{name}: not a number of the kind of {DEFAULTS[name]}, got {value!r}")
    return {name: type(value)(params.get(name, value)) for name, value in DEFAULTS.items()}


def run(params, *, seed, workdir, report, test):
    top = 1 - (params["x"] - 0.3) ** 2 - (params["y"] + 0.5) ** 2
    checkpoint, part = workdir / "checkpoint.json", workdir / "checkpoint.json.part"
    done, height = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, 0.0)
    for epoch in range(done, params["epochs"]):
        # Drawn from the seed and the epoch alone, so that a run that goes on draws the same.
        draw = random.Random(f"{seed} {epoch}").gauss(0, params["noise"])
        height += (top - height) / 2 + draw
        goes_on = report(epoch, {"val/height": height, "seconds/train": params["epoch_seconds"]})
        part.write_text(json.dumps([epoch + 1, height]))
        part.replace(checkpoint)  # after the report: an epoch that is told twice counts once
        if not goes_on:
            break
    return {"val/height": height} | ({"test/height": height - 0.01} if test else {})
