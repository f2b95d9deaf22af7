"""Which package files are read, and which are refused."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from examples.host_app import hex_files
from hexhub_backup.hex.tarball import PackageFile, Requirement, TarballError, read_package
from tests.support.hex import CONTENTS, METADATA, members_of, raw_package, tar_of

#: As rebar3 writes them, and as Hex did before it named the repository.
OLDER = b"""%% -*- coding: utf-8 -*-
{<<"name">>,<<"a">>}.
{<<"requirements">>,
  [{<<"b">>,[{<<"app">>,<<"bb">>},{<<"optional">>,true},{<<"requirement">>,<<"~> 2.0">>}]}]}.
"""
NEWER = b"""{<<"name">>,<<"a">>}.
{<<"requirements">>,[[{<<"name">>,<<"b">>},{<<"app">>,<<"bb">>},{<<"optional">>,true},
  {<<"requirement">>,<<"~> 2.0">>},{<<"repository">>,<<"acme">>}]]}.
"""
#: Hex's own code makes a package file, and unpacks others: it prints what it refuses.
_HEX_CORE = """
main([Made | Others]) ->
  code:add_pathz("rebar/ebin"),
  Metadata = #{<<"name">> => <<"own">>, <<"version">> => <<"0.1.0">>,
    <<"description">> => <<230,151,165,230,156,172,32,99,97,102,195,169,10,34,92>>,
    <<"maintainers">> => [<<"\\303\\251">>, <<"tab\\t">>, binary:copy(<<"long ">>, 50)],
    <<"requirements">> => #{<<"jason">> => #{<<"app">> => <<"jason">>, <<"optional">> => true,
      <<"requirement">> => <<"~> 1.0">>}}},
  {ok, #{tarball := Tarball}} = r3_hex_tarball:create(Metadata, [{"mix.exs", <<"x">>}]),
  ok = file:write_file(Made, Tarball),
  [case r3_hex_tarball:unpack(element(2, file:read_file(File)), memory) of
    {ok, _} -> ok;
    _ -> io:format("~s~n", [filename:basename(File)])
  end || File <- Others].
"""


def read(content: bytes) -> PackageFile:
    return read_package(io.BytesIO(content))


def changed(**other: bytes | None) -> bytes:
    """A sound package file with `other` members instead of its own; None is none."""
    members = {**members_of(), **{name.replace("__", "."): data for name, data in other.items()}}
    return raw_package({name: data for name, data in members.items() if data is not None})


def in_order(*names: str) -> bytes:
    members = members_of()
    return tar_of((name, members[name]) for name in names)


def link_for(name: str) -> bytes:
    """A package file in which a member is a link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "x"
    others = {key: data for key, data in members_of().items() if key != name}
    return tar_of([info, *others.items()])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    metadata = {"name": "a", "description": 'ä "b" \\\n日本', "links": {"Source": "x"}, "files": []}
    with (tmp_path / "a").open("wb") as file:
        hex_files.write_package(file, metadata, {"mix.exs": b"x"}, size=200_000)
    content = (tmp_path / "a").read_bytes()
    found = read(content)
    assert found.metadata == metadata
    assert found.outer_checksum == hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    ("metadata", "repository"), [(OLDER, ""), (NEWER, "acme")], ids=["older", "newer"]
)
def test_requirements_are_read_in_both_forms(metadata: bytes, repository: str) -> None:
    assert read(raw_package(metadata=metadata)).requirements == (
        Requirement("b", "~> 2.0", app="bb", optional=True, repository=repository),
    )


SOUND = {
    "plain": changed(),
    "checksum_last": in_order("VERSION", "metadata.config", "contents.tar.gz", "CHECKSUM"),
    "small_letters": changed(CHECKSUM=members_of()["CHECKSUM"].lower() + b"\n"),
    "followed": changed() + b"something else" * 100,
    # A header and a block of each member, and no more than one behind them.
    "one_zero_block": changed()[: 9 * 512],
    "latin_1": raw_package(metadata=METADATA + b'{<<"description">>,<<"caf\xe9">>}.'),
}
REFUSED = {
    "empty": (b"", "it is no tar, or a part of it is missing"),
    "no_tar": (b"x" * 2000, "no tar"),
    "cut": (changed()[:3588], "it is no tar, or a part of it is missing"),
    "wrong_checksum": (changed(CHECKSUM=b"0" * 64), "do not fit its CHECKSUM"),
    "no_checksum": (changed(CHECKSUM=b"\xff"), "do not fit its CHECKSUM"),
    "other_contents": (changed(contents__tar__gz=CONTENTS + b"x"), "do not fit its CHECKSUM"),
    "missing": (changed(contents__tar__gz=None), "contents.tar.gz in it is missing"),
    "missing_checksum": (changed(CHECKSUM=None), "CHECKSUM in it is missing"),
    "extra": (changed(more=b""), "other members than those of a package file"),
    "version": (raw_package(version=b"4"), "VERSION is not 3"),
    "no_terms": (raw_package(metadata=b"no terms"), "metadata.config can't be read: they are no"),
    "not_closed": (raw_package(metadata=METADATA[:-3]), "metadata.config can't be read"),
    "no_pairs": (raw_package(metadata=METADATA + b"{a,b,c}."), "not every term is a pair"),
}
#: What Hex's own code takes, or does not look at before it is used.
STRICTER = {
    "order": (
        in_order("CHECKSUM", "VERSION", "contents.tar.gz", "metadata.config"),
        "metadata.config in it is missing, or comes after contents.tar.gz",
    ),
    "twice": (tar_of([*members_of().items(), ("VERSION", b"3")]), "it has VERSION twice"),
    "link": (link_for("VERSION"), "VERSION in it is no file"),
    "large": (
        raw_package(metadata=b" " * (2 << 20)),
        "metadata.config in it is larger than 1048576 bytes",
    ),
    "deep": (raw_package(metadata=b"{a," + b"[" * 99 + b"]" * 99 + b"}."), "32 deep"),
    "no_name": (raw_package(metadata=b'{<<"requirements">>,[[{<<"app">>,<<"b">>}]]}.'), "no name"),
    "no_rule": (raw_package(metadata=b'{<<"requirements">>,[{<<"b">>,1}]}.'), "no name"),
    "no_list": (raw_package(metadata=b'{<<"requirements">>,true}.'), "no name"),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_a_client_takes_is_read(name: str) -> None:
    assert read(SOUND[name]).metadata["name"] == "own"


@pytest.mark.parametrize(
    ("content", "message"), [*REFUSED.values(), *STRICTER.values()], ids=[*REFUSED, *STRICTER]
)
def test_any_other_file_is_refused_and_says_why(content: bytes, message: str) -> None:
    with pytest.raises(TarballError, match=message):
        read(content)


def test_hex_itself_says_the_same(tmp_path: Path) -> None:
    """By the code of Hex that is in rebar3."""
    rebar3 = shutil.which("rebar3")
    assert rebar3 is not None
    with zipfile.ZipFile(rebar3) as archive:
        archive.extractall(
            tmp_path, [name for name in archive.namelist() if name.startswith("rebar/ebin/")]
        )
    files = {**SOUND, **{name: content for name, (content, _) in REFUSED.items()}}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "hex.escript").write_text(f"#!/usr/bin/env escript\n{_HEX_CORE}")
    done = subprocess.run(
        ["escript", "hex.escript", "made", *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == set(REFUSED)
    made = read((tmp_path / "made").read_bytes())
    assert made.metadata["description"] == '日本 café\n"\\'
    assert made.metadata["maintainers"] == ["é", "tab\t", "long " * 50]
    assert made.requirements == (Requirement("jason", "~> 1.0", "jason", True, ""),)
