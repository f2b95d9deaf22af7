"""Keys for copies, made by Debian's age and by OpenSSH, and Debian's age itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Key(NamedTuple):
    """A key: its public half, and the file of the private one."""

    recipient: str
    identity: Path

    def open(self, content: bytes) -> bytes:
        """What `age -d` reads of an encrypted file. Raises CalledProcessError."""
        program = ["age", "-d", "-i", str(self.identity)]
        return subprocess.run(program, input=content, capture_output=True, check=True).stdout

    def close(self, content: bytes) -> bytes:
        """What `age` makes of a file for this key."""
        program = ["age", "-r", self.recipient]
        return subprocess.run(program, input=content, capture_output=True, check=True).stdout

    @property
    def secrets(self) -> list[str]:
        """The lines of the private key that nobody else may have."""
        lines = self.identity.read_text().splitlines()
        return [line for line in lines if line and line[0] not in "#-"]


def age_key(path: Path) -> Key:
    """A new X25519 key."""
    subprocess.run(["age-keygen", "-o", str(path)], capture_output=True, check=True)
    public = subprocess.run(["age-keygen", "-y", str(path)], capture_output=True, check=True)
    return Key(public.stdout.decode().strip(), path)


def ssh_key(path: Path, kind: str = "ed25519") -> Key:
    """A new SSH key."""
    program = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "ada@example.org", "-f", str(path)]
    subprocess.run(program, check=True)
    return Key(path.with_suffix(".pub").read_text().strip(), path)


def ssh_fingerprint(key: Key) -> str:
    """What OpenSSH calls a key."""
    program = ["ssh-keygen", "-l", "-f", str(key.identity)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return done.stdout.split()[1]
