"""`init_app(destinations=…)`, and the commands that look at destinations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from hexhub_backup import DirectoryDestination, HexHubBackup, S3Destination
from hexhub_backup.errors import SettingError
from hexhub_backup.jobs.backups import Backups, backups_of
from tests.support.commands import cli, refused


class Lacking:
    name = "tape"
    location = "a shelf"


@pytest.mark.parametrize(
    ("destinations", "why"),
    [
        (DirectoryDestination("nas", "/mnt/nas"), "not a list"),
        ([Lacking()], r"it lacks init, about, put, lock, open, list, delete"),
        ([DirectoryDestination], "the class DirectoryDestination"),
        ([DirectoryDestination("nas", "/a"), DirectoryDestination("nas", "/b")], "called nas"),
    ],
)
def test_what_can_not_be_destinations_is_refused(app: Flask, destinations: Any, why: str) -> None:
    other = Flask("other")
    backups = backups_of(app)
    with pytest.raises(SettingError, match=why):
        HexHubBackup(
            other,
            registry=backups.registry,
            storage=backups.storage,
            authorize=lambda: True,
            actor=lambda: "ada",
            destinations=destinations,
        )


def test_two_destinations_at_one_place_are_refused(
    app: Flask, backups: Backups, tmp_path: Path
) -> None:
    """A copy there would be the archive itself, or that of the other: deleted with it."""
    here = backups.depot.path
    link = tmp_path / "link"
    link.symlink_to(here)
    bucket: dict[str, Any] = {"bucket": "copies", "endpoint": "http://127.0.0.1:9"}
    for destinations, other in (
        ([DirectoryDestination("nas", link)], "the place of the backups themselves"),
        ([DirectoryDestination("a", "/a"), DirectoryDestination("b", "/a/../a")], "that of a"),
        ([S3Destination("a", **bucket), S3Destination("b", prefix="/", **bucket)], "that of a"),
    ):
        with pytest.raises(SettingError, match=f"is {other}: give it"):
            HexHubBackup(
                Flask("other", instance_path=app.instance_path),
                registry=backups.registry,
                storage=backups.storage,
                authorize=lambda: True,
                actor=lambda: "ada",
                destinations=destinations,
            )


@pytest.mark.parametrize(
    "endpoint",
    ["minio:9000", "minio", "", "http://", "https://[", "https://ada:s3cret@minio.example"],
)
def test_an_endpoint_that_is_no_address_or_holds_a_secret_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingError, match="endpoint= of the destination offsite") as raised:
        S3Destination("offsite", bucket="a", endpoint=endpoint)
    assert "s3cret" not in str(raised.value)


def test_the_commands_make_a_directory_a_destination_and_list_it(
    app: Flask, backups: Backups, tmp_path: Path
) -> None:
    assert "There is no destination" in cli(app, "destinations", "list").stdout
    assert "was given none" in refused(app, "destinations", "init", "nas")["message"]
    backups.destinations = {"nas": DirectoryDestination("nas", tmp_path / "nas")}
    assert refused(app, "destinations", "init", "nas")["code"] == "destination"
    (row,) = json.loads(cli(app, "destinations", "list", "--json").stdout)
    assert (row["name"], row["ready"]) == ("nas", False)
    (tmp_path / "nas").mkdir()
    assert "nas is a destination" in cli(app, "destinations", "init", "nas").stdout
    shown = cli(app, "destinations", "list").stdout
    assert "nas" in shown
    assert "ready" in shown
    assert "free" in shown
