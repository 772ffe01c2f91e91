"""Checks before training that the parts of a configuration fit each other and the data.

The rules of a single method are in its class; see ``gcudml.methods.interface``.
"""

from gcudml.config import RunConfig
from gcudml.config.methods import is_control, method_names
from gcudml.data.datasets import has_classes
from gcudml.methods import class_of
from gcudml.methods.interface import DataSizes

STACKED = ("conv4", "efficientnet_lite0", "resnet", "squeezenet", "mobilenet_v2")
"""Name prefixes of the backbones tested to give equal results when stacked."""


def check_settings(config: RunConfig) -> None:
    """Reject settings that are each valid but contradict each other.

    Raises:
        ValueError: ``section.key: what; remedy``.
    """
    method = config.method
    if method.supervision == "all" and not has_classes(config.data):
        raise ValueError(
            f"method.name: {method.name} learns from classes, and data.labels is none; choose "
            f"{', '.join(method_names('none', 'some'))}, or gce with method.labels pseudo"
        )
    is_misfit = config.data.labelled_fraction > 0 and method.supervision != "some"
    if is_misfit and not is_control(method):  # a semi-supervised study may include controls
        knows = "all labels" if method.supervision == "all" else "no label"
        raise ValueError(
            f"data.labelled_fraction: method {method.name} uses {knows}, whatever the fraction; "
            f"set it to 0 or choose a semi-supervised method ({', '.join(method_names('some'))})"
        )
    if (trained := class_of(method)) is not None:
        trained.check_settings(method, config)
        if config.train.trunk == "frozen":
            if trained.compact_head(method, config) is not None:
                raise ValueError(
                    f"train.trunk: the compact head of method {method.name} takes feature maps, "
                    "and a frozen trunk gives pooled features; set train.trunk to trained"
                )
            trained.check_frozen(method, config)


def check_fits(config: RunConfig, sizes: DataSizes) -> None:
    """Reject parameters that need more images or classes than there are.

    Raises:
        ValueError: ``section.key: what; remedy``.
    """
    if (trained := class_of(config.method)) is not None:
        trained.check_data(config.method, config, sizes)
    if not has_classes(config.data):
        return
    largest = max(config.evaluate.k)
    found_in = {
        "val": sizes.images["val"],
        "test": sizes.images["test"] if sizes.gallery is None else sizes.gallery + 1,
    }
    for part, count in found_in.items():
        if 0 < count <= largest:
            kind = "gallery" if part == "test" and sizes.gallery is not None else part
            raise ValueError(
                f"evaluate.k: Recall@{largest} of {count - (kind == 'gallery')} {kind} images "
                "would always be 1; needs fewer neighbours than images"
            )


def check_network(config: RunConfig, *, channels: int) -> None:
    """Reject parameters that do not suit the network, which is known to exist and to load.

    Raises:
        ValueError: ``section.key: what; remedy``.
    """
    if (trained := class_of(config.method)) is not None:
        trained.check_network(config.method, config, channels=channels)


def may_be_stacked(config: RunConfig) -> bool:
    """Whether a run can be trained together with others, its network stacked with theirs.

    Networks with dropout or stochastic depth cannot: stacked, they would draw different numbers.
    With a frozen trunk only the heads are stacked.
    """
    is_frozen = config.train.trunk == "frozen"
    return not is_control(config.method) and (
        is_frozen or config.model.backbone.startswith(STACKED)
    )
