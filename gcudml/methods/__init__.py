"""Methods by name: adding one is a file here, its configuration and a line below."""

from gcudml.config import GcudmlConfig
from gcudml.methods.gcudml import Gcudml
from gcudml.methods.interface import Method, Setup


def build_method(setup: Setup) -> Method:
    """The method that the run's configuration names.

    Raises:
        ValueError: the method does not fit the data, or it is a control, which trains nothing.
    """
    config = setup.config.method
    if isinstance(config, GcudmlConfig):
        return Gcudml(setup, config)
    raise ValueError(f"method.name: {config.name!r} trains nothing")
