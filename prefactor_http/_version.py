"""Name and version of the package. The version is defined only here."""

__version__ = "1.0.0"

PACKAGE_NAME = "prefactor-http"
PACKAGE_VERSION = __version__

__all__ = ["PACKAGE_NAME", "PACKAGE_VERSION", "__version__"]
