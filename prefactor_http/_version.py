"""The package's name and version; the version stands here and nowhere else."""

__version__ = "1.0.0"

PACKAGE_NAME = "prefactor-http"
PACKAGE_VERSION = __version__

__all__ = ["PACKAGE_NAME", "PACKAGE_VERSION", "__version__"]
