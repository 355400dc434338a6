"""The errors of training, building and serving; the client's are in `trident_client.errors`."""

from trident_client.errors import TridentError

__all__ = [
    "BenchError",
    "BuildError",
    "DataError",
    "DownloadError",
    "ExportError",
    "InstallError",
    "ReleaseError",
    "ScoringError",
    "ServerStartError",
    "ServiceError",
    "TridentError",
]


class BenchError(TridentError):
    """A service could not be measured, or not tuned."""


class DataError(TridentError):
    """A file of labelled examples cannot be used."""


class DownloadError(TridentError):
    """Weights or a tool could not be fetched."""


class ExportError(TridentError):
    """A model could not be written as a SavedModel, or what was written does not run."""


class InstallError(TridentError):
    """The `tensorflow` backend could not be installed; the backend directory is as it was."""


class ScoringError(TridentError):
    """A file cannot be scored as asked; what was scored is kept."""


class ServiceError(TridentError):
    """A service folder is incomplete or contradicts itself."""


class BuildError(TridentError):
    """The model repository could not be written; it is as it was."""


class ReleaseError(TridentError):
    """A version cannot be released; the one before it serves on."""


class ServerStartError(TridentError):
    """tritonserver did not start, or a model did not load."""
