"""The optional libraries: what a setting needs is there, or the line that installs it is named."""

from __future__ import annotations

from importlib.util import find_spec

from hexhub_backup.errors import SettingError

#: The module of each extra of setup.cfg.
_MODULES = {
    "age": "pyrage",
    "celery": "celery",
    "metrics": "prometheus_client",
    "notify": "apprise",
    "s3": "boto3",
    "schedule": "cronsim",
}


def require(extra: str, what: str) -> None:
    """Raises SettingError where the library of an extra is not installed; `what` needs it."""
    if find_spec(_MODULES[extra]) is None:
        raise SettingError(
            f"{what} needs {_MODULES[extra]}, which is not installed: "
            f"pip install 'hexhub_backup[{extra}]'"
        )
