"""Work that another thread does is done once, whether or not there is one."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hexhub_backup.beside import DigestBeside, start


@pytest.fixture
def no_first_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has as many threads as it may have, when the first one is asked for."""
    begin, refused = threading.Thread.start, list[threading.Thread]()

    def refuse_once(thread: threading.Thread) -> None:
        if not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)


@pytest.mark.usefixtures("no_first_thread")
def test_what_no_thread_was_there_for_is_done_once() -> None:
    done = list[int]()
    with ThreadPoolExecutor(1) as beside:
        for n in range(3):
            start(beside, done.append, n).result()
    assert done == [0, 1, 2]


@pytest.mark.usefixtures("no_first_thread")
def test_each_byte_is_hashed_once() -> None:
    with ThreadPoolExecutor(1) as beside:
        digest = DigestBeside(beside)
        for part in (b"a", b"b", b"c"):
            digest.update(part)
    assert digest.hexdigest() == hashlib.sha256(b"abc").hexdigest()


def test_an_error_is_raised_when_the_result_is_asked_for() -> None:
    ended = ThreadPoolExecutor(1)
    ended.shutdown()
    with ThreadPoolExecutor(1) as beside:
        for executor in (beside, ended):
            failing = start(executor, int, "no number")
            with pytest.raises(ValueError, match="no number"):
                failing.result()
