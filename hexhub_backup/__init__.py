"""Backup and restore for the admin of a package registry, as a Flask extension."""

from hexhub_backup.depot.s3 import S3Depot
from hexhub_backup.destinations.base import Destination
from hexhub_backup.destinations.directory import DirectoryDestination
from hexhub_backup.destinations.s3 import S3Destination
from hexhub_backup.extension import HexHubBackup
from hexhub_backup.hex.check import hex_tarball
from hexhub_backup.jobs.celery import CeleryRunner
from hexhub_backup.jobs.runner import Runner
from hexhub_backup.jobs.running import run
from hexhub_backup.operations.release_check import ReleaseCheck, ReleaseToCheck
from hexhub_backup.registry.mapping.model_map import Field, ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from hexhub_backup.schedule.tick import tick
from hexhub_backup.storage.local import LocalStorage
from hexhub_backup.storage.s3 import S3Storage

__all__ = [
    "CeleryRunner",
    "Destination",
    "DirectoryDestination",
    "Field",
    "HexHubBackup",
    "LocalStorage",
    "ModelMap",
    "ReleaseCheck",
    "ReleaseToCheck",
    "Runner",
    "S3Depot",
    "S3Destination",
    "S3Storage",
    "SQLAlchemyRegistry",
    "hex_tarball",
    "run",
    "tick",
]
