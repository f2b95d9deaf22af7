"""Backup and restore for the admin of a package registry, as a Flask extension."""

from hexhub_backup.extension import HexHubBackup
from hexhub_backup.registry.mapping import Field, ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from hexhub_backup.storage.local import LocalStorage

__all__ = ["Field", "HexHubBackup", "LocalStorage", "ModelMap", "SQLAlchemyRegistry"]
