"""What a depot promises of files, held to it on each of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from hexhub_backup.depot.base import Depot, UploadInfo, What
from hexhub_backup.errors import ArchiveError, BusyError, NotFoundError
from hexhub_backup.history.store import utc_now
from tests.support.depots import ID, Open, content, made, new, read, whole

LISTS: tuple[What, ...] = ("undo_set", "changed", "refused")
#: More than fits into three parts of a bucket's.
LARGE = 20 * 1024 * 1024 + 4321


@pytest.mark.parametrize("size", [0, 1, 70_000, LARGE])
def test_a_new_archive_is_read_back_and_then_by_its_name(opens: Open, size: int) -> None:
    depot = opens("one")
    name = made(depot, content(size))
    other = opens("two")
    assert read(other, name) == content(size)
    assert other.is_there(name)
    assert other.stat(name).size == size
    assert list(other.archives()) == [ID]
    assert other.finder([ID, "other"])(ID)
    assert not other.finder([ID, "other"])("other")
    assert [other.finder([ID, "a", "b", "c"])(each) for each in (ID, "a", "c")] == [1, 0, 0]


def test_what_is_not_there_is_said_to_be(depot: Depot) -> None:
    name = depot.archive_name("none")
    assert not depot.is_there(name)
    assert list(depot.archives()) == []
    with pytest.raises(NotFoundError):
        depot.source(name)
    with pytest.raises(FileNotFoundError):
        depot.stat(name)
    with pytest.raises(NotFoundError), depot.using(name):
        pass
    depot.remove(name)
    depot.discard("none")


@pytest.mark.sample
def test_any_part_of_an_archive_is_read(depot: Depot) -> None:
    data = content(LARGE)
    with depot.source(made(depot, data)) as source:
        assert source.size == LARGE
        for at, length in [
            (LARGE - 10, 100),
            (0, 1),
            (1, 9_000_000),
            (5, 5),
            (9_000_100, 12),
            (9_000_112, 5_000_000),
            (LARGE, 1),
            (LARGE + 5, 1),
            (12, 0),
        ]:
            assert source.read(at, length) == data[at : at + length]
        assert not source.changed()


@pytest.mark.parametrize("length", [7_000, 700_000])
def test_an_archive_is_read_by_several_threads(depot: Depot, length: int) -> None:
    """Files that are small or large, begun in their order, and read at whatever pace."""
    data = content(LARGE)

    def read(start: int) -> bool:
        end = min(start + length, LARGE)
        step = length // 3 + 1
        parts = [source.read(at, min(step, end - at)) for at in range(start, end, step)]
        return b"".join(parts) == data[start:end]

    with depot.source(made(depot, data)) as source, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(0, LARGE, length)))
        # Some of them, the last ones first.
        assert all(pool.map(read, range(LARGE - length, 0, -LARGE // 20)))


def test_a_version_tells_one_archive_from_another(depot: Depot) -> None:
    name = made(depot, b"one")
    with depot.source(name) as one, depot.source(name) as same:
        assert one.version == same.version
        before = one.version
    depot.remove(name)
    made(depot, b"two")
    with depot.source(name) as other:
        assert other.version != before


@pytest.mark.sample
def test_what_was_written_is_written_over_and_cut_back(depot: Depot) -> None:
    """As the writer does with the sizes of the records, and with files that change meanwhile."""
    records, first, second = content(100_000), content(LARGE, 3), content(LARGE, 7)
    with new(depot, LARGE) as archive:
        file = archive.file
        file.write(b"?" * 10 + records)
        file.flush()
        file.seek(10)
        assert file.read(5) == records[:5]
        file.seek(0)
        file.write(b"0123456789")
        end = file.seek(10 + len(records))
        archive.mark(end)
        file.write(first)
        file.seek(end)
        file.truncate()
        # Once more: the part in which it begins has been sent again by then.
        archive.mark(end)
        file.write(second)
        archive.mark(end + len(second))
        file.write(b"third")
        file.seek(end + len(second))
        file.truncate()
        file.write(b"end")
        file.flush()
        with archive.complete():
            pass
        archive.publish()
    expected = b"0123456789" + records + second + b"end"
    assert read(depot, depot.archive_name(ID)) == expected


@pytest.mark.parametrize("at", ["begun", "written", "complete", "published"])
def test_nothing_is_left_of_what_is_discarded(depot: Depot, at: str) -> None:
    with new(depot, LARGE) as archive:
        if at != "begun":
            archive.mark(0)
            archive.file.write(content(LARGE))
            archive.file.flush()
        if at in ("complete", "published"):
            with archive.complete():
                pass
        if at == "published":
            archive.publish()
        archive.close()
        archive.discard()
        archive.discard()
    assert not depot.is_there(depot.archive_name(ID))
    assert not depot.was_published(ID)


@pytest.mark.sample
def test_what_died_in_the_middle_is_no_archive_and_goes(opens: Open) -> None:
    depot = opens("one")
    with depot.work() as work:
        archive = depot.new_archive(ID, LARGE, Path(work))
        archive.mark(0)
        archive.file.write(content(LARGE))
        archive.file.flush()
        other = opens("two")
        assert not other.is_there(other.archive_name(ID))
        other.remove_partials()
        other.discard(ID)
        assert list(other.archives()) == []
        archive.close()


@pytest.mark.sample
def test_one_that_is_used_is_not_taken_alone(opens: Open) -> None:
    depot, other = opens("one"), opens("two")
    name = made(depot, b"archive")
    with depot.using(name) as source:
        assert whole(source) == b"archive"
        with other.using(name):
            pass
        with pytest.raises(BusyError), other.using(name, alone=True):
            pass
    with other.using(name, alone=True):
        other.remove(name)
    assert not depot.is_there(name)


def test_a_file_of_this_machine_has_its_path_for_a_name(depot: Depot, tmp_path: Path) -> None:
    path = tmp_path / "file.tar"
    path.write_bytes(b"archive")
    assert depot.is_there(str(path))
    assert depot.stat(str(path)).size == 7
    assert read(depot, str(path)) == b"archive"
    with depot.using(str(path)) as source:
        assert whole(source) == b"archive"
    with pytest.raises(ArchiveError):
        depot.source(str(tmp_path))
    assert not depot.is_upload(str(path))
    depot.remove_upload(str(path))
    assert path.exists()


# what comes in


@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_an_upload_is_there_when_it_is_complete(opens: Open, size: int) -> None:
    depot, data = opens("one"), content(size)
    with depot.new_upload("one") as upload:
        for at in range(0, size, 1_000_000):
            upload.write(data[at : at + 1_000_000])
        assert not depot.is_there(upload.name)
        upload.complete()
    assert upload.name == depot.upload_name("one")
    assert depot.is_upload(upload.name)
    assert read(opens("two"), upload.name) == data
    upload.discard()
    assert not depot.is_there(upload.name)


def test_an_upload_that_ends_too_early_leaves_nothing(depot: Depot) -> None:
    with depot.new_upload("one") as upload:
        upload.write(content(LARGE))
        upload.discard()
    assert not depot.is_there(upload.name)


def test_a_work_file_is_there_before_it_is_written(opens: Open) -> None:
    depot = opens("one")
    name = depot.new_work_file("one")
    assert depot.is_upload(name)
    assert read(depot, name) == b""
    for data in (content(LARGE), b"shorter"):
        with opens("two").work_file(name, 4) as file:
            file.write(data)
            file.complete()
        assert read(depot, name) == data


@pytest.mark.parametrize("size", [10, LARGE])
def test_an_upload_becomes_the_archive_of_a_backup(depot: Depot, size: int) -> None:
    name = depot.new_work_file("one")
    with depot.work_file(name, 4) as file:
        file.write(content(size))
        file.complete()
    depot.publish(name, ID)
    assert read(depot, depot.archive_name(ID)) == content(size)
    assert not depot.is_there(name)
    again = depot.new_work_file("two")
    with pytest.raises(BusyError):
        depot.publish(again, ID)
    assert read(depot, depot.archive_name(ID)) == content(size)
    assert depot.is_there(again)


def test_uploads_go_when_they_are_old_and_nobody_uses_them(depot: Depot) -> None:
    names = [depot.new_work_file(each) for each in ("one", "two")]
    stay = timedelta(days=1)
    depot.remove_uploads(utc_now(), stay)
    assert all(map(depot.is_there, names))
    with depot.using(names[0]):
        depot.remove_uploads(utc_now() + 2 * stay, stay)
    assert list(map(depot.is_there, names)) == [True, False]
    depot.remove_upload(names[0])
    depot.remove_upload(None)
    assert not depot.is_there(names[0])


# uploads that are resumed

INFO = UploadInfo(LARGE, "ada", "filename bWluZS50YXI=")


def sent(depot: Depot, data: bytes) -> int:
    """Write what comes next of the upload `one`; gives how much of it is there now."""
    with depot.resumable("one", alone=True) as upload:
        for at in range(0, len(data), 100_000):
            upload.write(data[at : at + 100_000])
        upload.keep()
        return upload.offset


@pytest.mark.sample
def test_an_upload_is_resumed_on_another_machine_wherever_it_ended(opens: Open) -> None:
    data, part = content(LARGE), 8 * 1024 * 1024
    opens("one").new_resumable("one", INFO)
    at = 0
    for number, end in enumerate((0, 300, part - 1, part, part + 1, 3 * part // 2, LARGE)):
        machine = opens(f"machine {number}")
        assert not machine.is_there(machine.upload_name("one"))
        assert sent(machine, data[at:end]) == end
        with opens("another").resumable("one", alone=False) as upload:
            assert (upload.info, upload.offset) == (INFO, end)
            if end < part:
                assert upload.head(512) == data[: min(end, 512)]
        at = end
    with opens("last").resumable("one", alone=True) as upload:
        upload.complete()
        upload.complete()
    last = opens("very last")
    assert read(last, last.upload_name("one")) == data
    # Who did not hear that it is complete asks once more.
    with last.resumable("one", alone=True) as upload:
        assert upload.offset == LARGE
        assert last.is_upload(upload.name)
        upload.complete()
        upload.release()
    with pytest.raises(NotFoundError), last.resumable("one", alone=False):
        pass
    assert read(last, last.upload_name("one")) == data


def test_a_small_upload_is_resumed(opens: Open) -> None:
    opens("one").new_resumable("one", INFO._replace(length=10))
    assert sent(opens("one"), b"01234") == 5
    assert sent(opens("two"), b"56789") == 10
    depot = opens("three")
    with depot.resumable("one", alone=True) as upload:
        upload.complete()
    assert read(depot, depot.upload_name("one")) == b"0123456789"


@pytest.mark.sample
def test_one_writes_an_upload_at_a_time_and_others_look(opens: Open) -> None:
    depot, other = opens("one"), opens("two")
    depot.new_resumable("one", INFO)
    with depot.resumable("one", alone=True) as upload:
        upload.write(b"first")
        upload.keep()
        with pytest.raises(BusyError), other.resumable("one", alone=True):
            pass
        with other.resumable("one", alone=False) as looked_at:
            assert looked_at.offset == 5
    with other.resumable("one", alone=True) as upload:
        assert upload.offset == 5


@pytest.mark.parametrize("size", [0, 100, LARGE])
@pytest.mark.parametrize("complete", [True, False])
def test_nothing_is_left_of_an_upload_that_is_discarded(
    opens: Open, size: int, complete: bool
) -> None:
    depot = opens("one")
    depot.new_resumable("one", INFO._replace(length=size))
    sent(depot, content(size))
    with opens("two").resumable("one", alone=True) as upload:
        if complete:
            upload.complete()
        upload.discard()
        upload.discard()
    assert not depot.is_there(depot.upload_name("one"))
    with pytest.raises(NotFoundError), depot.resumable("one", alone=True):
        pass


def test_an_upload_that_nobody_resumes_goes(opens: Open) -> None:
    depot, stay = opens("one"), timedelta(days=1)
    depot.new_resumable("one", INFO)
    sent(depot, content(LARGE)[:-1])
    depot.remove_uploads(utc_now(), stay)
    with depot.resumable("one", alone=True) as upload:
        depot.remove_uploads(utc_now() + 2 * stay, stay)
        assert abs(upload.written - utc_now().timestamp()) < 60
    with opens("two").resumable("one", alone=True) as upload:
        assert upload.offset == LARGE - 1
    depot.remove_uploads(utc_now() + 2 * stay, stay)
    with pytest.raises(NotFoundError), depot.resumable("one", alone=True):
        pass
    depot.new_resumable("one", INFO)


# what operations leave


@pytest.mark.parametrize("what", [*LISTS, "contents"])
def test_what_an_operation_leaves_is_read_on_another_machine(opens: Open, what: What) -> None:
    one, two = (opens(name).kept(what, "an-operation") for name in ("one", "two"))
    assert not one.exists()
    assert not one.here().exists()
    for data in (b"first", content(LARGE)):
        one.here().write_bytes(data)
        one.keep()
        assert two.exists()
        assert two.here().read_bytes() == data
        assert two.here().stat().st_mode & 0o077 == 0 or os.fspath(one.here()) == os.fspath(
            two.here()
        )
    two.remove()
    two.remove()
    assert not one.exists()
    assert not two.here().exists()
    assert not opens("three").kept(what, "an-operation").here().exists()


@pytest.mark.sample
def test_a_plan_is_a_folder_of_two_files(opens: Open) -> None:
    one, two = opens("one"), opens("two")
    made = one.kept("plan", "an-operation")
    folder = made.here()
    folder.mkdir()
    for name in ("index.sqlite", "plan.sqlite"):
        (folder / name).write_bytes(name.encode())
    made.keep()
    assert one.plans() == two.plans() == ["an-operation"]
    brought = two.kept("plan", "an-operation").here()
    assert {each: (brought / each).read_bytes() for each in ("index.sqlite", "plan.sqlite")} == {
        "index.sqlite": b"index.sqlite",
        "plan.sqlite": b"plan.sqlite",
    }
    two.kept("plan", "an-operation").remove()
    assert two.plans() == []
    assert not brought.exists()
    assert not made.exists()


def test_all_that_an_operation_left_goes_with_it(opens: Open) -> None:
    depot = opens("one")
    for what in (*LISTS, "contents"):
        kept = depot.kept(what, "an-operation")
        kept.here().write_bytes(b"left")
        kept.keep()
    assert list(depot.undo_sets()) == ["an-operation"]
    opens("two").remove_operation("an-operation")
    # They are those of the backup, which may have the name of its operation.
    assert depot.kept("contents", "an-operation").exists()
    for what in (*LISTS, "plan"):
        assert not depot.kept(what, "an-operation").exists()
    assert list(depot.undo_sets()) == []


def test_it_says_what_is_wrong_with_it(depot: Depot) -> None:
    assert depot.trouble() is None
    assert depot.location
