"""The short form of `python -m benchmarks.kills`; test_engine.py kills runs."""

import os

import pytest

from benchmarks import kills


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(("job", "seed"), [("collect", 0), ("prepare", 1)])
def test_what_a_kill_leaves_leads_to_the_same_files(job, seed, capsys):
    assert kills.main([f"--job={job}", "--rounds=1", f"--seed={seed}"]) == 0
    assert "the same but for 0 faults" in capsys.readouterr().out
