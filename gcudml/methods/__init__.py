"""Methods by name: adding one is a file here, its configuration and a line below."""

from gcudml.config import GcudmlConfig, MethodConfig
from gcudml.methods.gcudml import Gcudml
from gcudml.methods.interface import Method, Setup


def build_method(setup: Setup) -> Method:
    """The method that the run's configuration names.

    Raises:
        ValueError: the method does not fit the data, or it is a control, which trains nothing.
    """
    config = setup.config.method
    check_fits(config, images=len(setup.images))
    if isinstance(config, GcudmlConfig):
        return Gcudml(setup, config)
    raise ValueError(f"method.name: {config.name!r} trains nothing")


def check_fits(config: MethodConfig, *, images: int) -> None:
    """Refuse a method that so few training images cannot serve.

    Raises:
        ValueError: ``method.key: what; remedy``.
    """
    if isinstance(config, GcudmlConfig) and config.clusters > images:
        raise ValueError(
            f"method.clusters: {config.clusters} clusters of {images} training images; "
            "needs clusters <= images"
        )
