"""One holder at a time; a killed one is followed at once, a silent one after a stated time."""

import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.protocol import claim

HOLDER = """
import sys, time, pathlib
from experiments.protocol import claim
claim.SILENT_SECONDS = 1.5
mine = claim.Claim(pathlib.Path(sys.argv[1]))
with mine.held():
    print("held", flush=True)
    while True:
        time.sleep(0.05)
        try:
            mine.check()
        except claim.Lost as lost:
            print(lost, flush=True)
            break
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_holder_is_followed_at_once(tmp_path, holder):
    holder.kill()
    began = time.monotonic()
    with claim.Claim(tmp_path).held():
        assert time.monotonic() - began < 5


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_stopped_holder_loses_its_hold_and_notices(tmp_path, holder, monkeypatch, caplog):
    monkeypatch.setattr(claim, "SILENT_SECONDS", 1.5)
    os.kill(holder.pid, signal.SIGSTOP)
    mine = claim.Claim(tmp_path)
    began = time.monotonic()
    with mine.held():
        assert 1 < time.monotonic() - began < 10
        os.kill(holder.pid, signal.SIGCONT)
        assert "was taken over by another process" in holder.stdout.readline()
        holder.wait(10)
        mine.check()
    assert "silent for 1.5 s; taken over" in caplog.text


def test_a_holder_that_is_alive_keeps_its_hold(tmp_path, holder, monkeypatch, caplog):
    monkeypatch.setattr(claim, "SILENT_SECONDS", 1.5)
    monkeypatch.setattr(claim, "SAID_AFTER_SECONDS", 1.0)
    mine = claim.Claim(tmp_path)
    with pytest.raises(InterruptedError):
        signal.signal(signal.SIGALRM, _interrupt)
        signal.alarm(5)
        with mine.held():
            pass
    assert holder.poll() is None
    assert "waiting for another process" in caplog.text


def _interrupt(*_):
    raise InterruptedError
