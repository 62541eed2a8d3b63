"""One run in a folder at a time, and signals that end it in good order."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading

import pytest

from mlpot.engine.guards import alone_in, interruptible
from mlpot.errors import Interrupted, RecipeError


def test_a_folder_is_for_one_run_at_a_time(tmp_path):
    folder, notes = tmp_path / "a" / "run", []
    with (
        alone_in(folder, "mlpot study", "--out", notes),
        pytest.raises(RecipeError, match=r"run: another mlpot study is at work here; .* another --out"),
        alone_in(folder, "mlpot study", "--out", notes),
    ):
        pass
    with alone_in(folder, "mlpot study", "--out", notes):
        assert not notes


def test_a_file_system_without_locks_gives_a_note(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    notes = []
    with alone_in(tmp_path, "mlpot study", "--out", notes):
        assert "cannot be locked (No locks available); do not start a second mlpot study here" in notes[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_become_an_error_with_a_message(number):
    before = signal.getsignal(number)
    with (
        pytest.raises(Interrupted, match="the same command continues") as caught,
        interruptible("runs/x: interrupted; the same command continues."),
    ):
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
    assert caught.value.exit_status == 130
    assert signal.getsignal(number) is before


def test_the_message_is_that_of_the_command_that_was_given():
    with (
        pytest.raises(Interrupted, match=r"^runs/study: the same command continues"),
        interruptible("runs/study: the same command continues"),
        interruptible("runs/study/fit: continue with --resume"),
    ):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(5)


def test_other_threads_leave_signals_alone():
    seen = []

    def work():
        with interruptible("interrupted"):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
