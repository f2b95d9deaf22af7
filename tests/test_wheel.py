"""What a maintainer installs: the wheel, in an environment that has nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_works_in_a_clean_environment(tmp_path: Path) -> None:
    # Of a copy: what an earlier build has left in the checkout would get into the wheel, and two
    # builds in it at the same time would meet.
    source = tmp_path / "source"
    unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(ROOT / "hexhub_backup", source / "hexhub_backup", ignore=unwanted)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
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
    assert done.stdout.strip() == "0.1.0"
