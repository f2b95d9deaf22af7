"""What is published: the sdist and the wheel, and the wheel in an environment that has nothing
else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSION = "0.2.0"
#: What nobody has committed.
_LEFT = (".*", "__pycache__", "*.egg-info", "build", "dist", "instance", "node_modules")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, as a release has them: the wheel is built from the sdist."""
    # Of a copy: what an earlier build has left in the checkout would get into the wheel, and two
    # builds in it at the same time would meet.
    folder = tmp_path_factory.mktemp("release")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*_LEFT))
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", folder / "source"],
        check=True,
        capture_output=True,
    )
    return folder / "source" / "dist"


@pytest.mark.matrix
def test_both_are_fit_to_be_published(dist: Path) -> None:
    files = sorted(str(path) for path in dist.iterdir())
    names = [f"hexhub_backup-{VERSION}-py3-none-any.whl", f"hexhub_backup-{VERSION}.tar.gz"]
    assert [Path(file).name for file in files] == names
    for command in (["twine", "check", "--strict", *files], ["check_wheel_contents", files[0]]):
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.matrix
def test_the_sdist_has_all_that_is_committed(dist: Path) -> None:
    with tarfile.open(dist / f"hexhub_backup-{VERSION}.tar.gz") as tar:
        found = {name.partition("/")[2] for name in tar.getnames()}
    for folder in ("docs", "examples", "hexhub_backup", "tests", "tools"):
        left = shutil.ignore_patterns(*_LEFT)
        for path in (ROOT / folder).rglob("*"):
            names = list(path.relative_to(ROOT).parts)
            if path.is_file() and not left("", names):
                assert str(path.relative_to(ROOT)) in found
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "SECURITY.md"):
        assert name in found


@pytest.mark.matrix
def test_the_wheel_works_in_a_clean_environment(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "hexhub_backup/py.typed" in names
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == {"hexhub_backup"}
    for name in ("hexhub_backup.css", "icon.svg", "operation.js", "licences/daisyui.txt"):
        assert f"hexhub_backup/static/{name}" in names
    assert "hexhub_backup/templates/hexhub_backup/history.html" in names
    assert "hexhub_backup/testing/storages/host.py" in names
    assert not [name for name in names if "/src/" in name]
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    code = (
        "import hexhub_backup, importlib.metadata as metadata\n"
        "assert 'environment' in hexhub_backup.__file__, hexhub_backup.__file__\n"
        "for name in hexhub_backup.__all__: getattr(hexhub_backup, name)\n"
        "print(metadata.version('hexhub_backup'))"
    )
    done = subprocess.run(
        [python, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == VERSION
