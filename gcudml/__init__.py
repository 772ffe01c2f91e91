"""Unsupervised deep metric learning: images, embeddings and losses. Studies are the harness's part.

model = gcudml.load("best")                    # written by `harness best STUDY.yaml --to best`
gallery = gcudml.embed("photographs", model)
found = gcudml.search(gcudml.embed(["this.jpg"], model), gallery, k=8)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcudml.api import EmbeddedImages, Neighbours, embed, search
    from gcudml.training.model_file import TrainedModel
    from gcudml.training.model_file import load_model as load

__all__ = ["EmbeddedImages", "Neighbours", "TrainedModel", "embed", "load", "search"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- a module's attributes have any type
    """Import the names in ``__all__`` on first use: importing torch alone takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gcudml import api
    from gcudml.training import model_file

    if name == "load":
        return model_file.load_model
    return getattr(model_file if name == "TrainedModel" else api, name)
