"""The real rebar3 fetches packages, public and private, and checks who signed for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from examples.host_app import create_app
from examples.host_app.models import Package, db
from examples.host_app.seed import ADMIN, seeded_key
from tests.support.commands import cli
from tests.support.hex import package_file
from tests.support.patience import PATIENCE
from tests.support.registry import get
from tests.support.serving import Address, process

#: They need no other package.
PUBLIC, PRIVATE = "auth_gate", "geo_index"
_CONFIG = """
{{deps, [{deps}]}}.
{{hex, [{{repos, [
  #{{name => <<"acme">>, repo_name => <<"acme">>, repo_url => <<"{origin}/repo">>,
    repo_key => <<"{key}">>, repo_public_key => <<"{public_key}">>}},
  % What is not found is not asked for elsewhere.
  #{{name => <<"hexpm">>, repo_url => <<"{origin}/nothing">>}}
]}}]}}.
"""


@pytest.fixture
def server(seeded: Flask) -> Iterator[Address]:
    with seeded.app_context():
        db.session.execute(update(Package).where(Package.name == PRIVATE).values(private=True))
        db.session.commit()
    flask = ("flask", "--app=examples.host_app", "run", "--port={port}")
    with process(Path(seeded.instance_path), *flask) as served:
        yield served.address


def get_deps(
    folder: Path,
    server: Address,
    *,
    public_key: bytes,
    key: str,
    needs: tuple[str, ...] = (PUBLIC, PRIVATE),
) -> subprocess.CompletedProcess[str]:
    """`rebar3 get-deps` in a project that needs these packages, with a cache of its own."""
    (folder / "src").mkdir(parents=True)
    (folder / "src/project.app.src").write_text('{application, project, [{vsn, "1"}]}.')
    config = _CONFIG.format(
        deps=", ".join(f'{{{name}, "1.0.0"}}' for name in needs),
        origin=server.origin,
        key=key,
        public_key=public_key.decode().replace("\n", "\\n"),
    )
    (folder / "rebar.config").write_text(config)
    return subprocess.run(
        ["rebar3", "get-deps"],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "REBAR_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )


def test_it_fetches_public_and_private_packages(
    tmp_path: Path, client: FlaskClient, server: Address
) -> None:
    public_key = get(client, "public_key").data
    project = tmp_path / "project"
    done = get_deps(project, server, public_key=public_key, key=seeded_key(ADMIN))
    assert done.returncode == 0, done.stdout
    fetched = project / "_build/default/lib"
    assert (fetched / PUBLIC / "mix.exs").read_text().startswith("defmodule AuthGate")
    assert (fetched / PRIVATE / "mix.exs").exists()


def test_it_gets_no_private_package_without_a_key(
    tmp_path: Path, client: FlaskClient, server: Address
) -> None:
    public_key = get(client, "public_key").data
    done = get_deps(tmp_path / "project", server, public_key=public_key, key="")
    assert done.returncode != 0
    assert f"Package not found in any repo: {PRIVATE}" in done.stdout


def test_it_takes_nothing_that_another_key_has_signed(tmp_path: Path, server: Address) -> None:
    other = get(create_app(tmp_path / "other").test_client(), "public_key").data
    done = get_deps(tmp_path / "project", server, public_key=other, key=seeded_key(ADMIN))
    assert done.returncode != 0
    assert f"Package not found in any repo: {PUBLIC}" in done.stdout


def test_what_was_published_is_fetched_again_after_a_restore_elsewhere(
    tmp_path: Path, seeded: Flask, client: FlaskClient
) -> None:
    requirements = [{"name": PUBLIC, "requirement": "~> 1.0", "app": PUBLIC, "optional": False,
                     "repository": "acme"}]  # fmt: skip
    file = package_file("own", "1.0.0", requirements=requirements)
    headers = {"Authorization": seeded_key(ADMIN)}
    answer = client.post("/api/packages/own/releases", data=file, headers=headers)
    assert answer.status_code == 201, answer.text
    public_key = get(client, "public_key").data
    before = fetched(tmp_path / "before", seeded, public_key, seeded_key(ADMIN))
    assert (before / f"_build/default/lib/{PUBLIC}/mix.exs").exists()

    assert cli(seeded, "create").exit_code == 0
    (archive,) = Path(seeded.instance_path, "backups").glob("*.tar")
    new = tmp_path / "new"
    new.mkdir()
    # It is in no backup.
    shutil.copy(Path(seeded.instance_path, "repository_key.pem"), new)
    host = create_app(new)
    how = ("--strategy=overwrite", "--grant-protected", "--yes")
    done = cli(host, "restore", str(archive), *how)
    assert done.exit_code == 0, done.output
    key = host.test_cli_runner().invoke(args=["create-key", ADMIN]).output.strip()
    after = fetched(tmp_path / "after", host, public_key, key)
    assert (after / "rebar.lock").read_text() == (before / "rebar.lock").read_text()


def fetched(folder: Path, host: Flask, public_key: bytes, key: str) -> Path:
    """A project that has fetched what was published, and what that needs."""
    flask = ("flask", "--app=examples.host_app", "run", "--port={port}")
    with process(Path(host.instance_path), *flask) as server:
        needs = ("own",)
        done = get_deps(folder, server.address, public_key=public_key, key=key, needs=needs)
    assert done.returncode == 0, done.stdout
    return folder
