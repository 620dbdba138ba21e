"""A trial that was killed, or told to stop, goes on from where it saved itself: its measurements are the same bits."""

import pytest
from small_studies import tiny

from experiments.protocol import stopping, store, trial, worker
from experiments.protocol.checkpoint import Checkpoints
from experiments.protocol.study import Stopped

POINT = {"learning_rate": 0.1, "momentum": 0.9}


@pytest.fixture(autouse=True)
def _asked_by_nobody():
    yield
    stopping.forget()


def train(study, folder, stop_after=None, every_seconds=1e9):
    """A trial's result and measurements; asked to stop once it has taken so many evaluations."""
    measured = []

    def record(measurement):
        measured.append(measurement)
        if len(measured) == stop_after:
            stopping.ask()

    checkpoints = None if folder is None else Checkpoints(folder, every_seconds)
    try:
        result = trial.run(study, 0, 0, POINT, bound_steps=lambda: None, record=record, checkpoints=checkpoints)
    finally:
        stopping.forget()
        if checkpoints is not None:
            checkpoints.finish()
    return result, measured


VARIANTS = [
    ("baseline", 1, {}),
    ("batch", 2, {}),
    ("batch", 2.5, {"repeated_batch_buffer": 4}),
    ("example", 2, {}),
    ("example", 2.5, {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "factor", "changes"), VARIANTS)
def test_every_variant_goes_on_with_the_same_bits(tmp_path, variant, factor, changes):
    study = tiny(variant, factor, {"target": "0.1"}, **changes)
    whole, measured = train(study, None)
    for stop_after in (1, 4):
        with pytest.raises(Stopped):
            train(study, tmp_path / f"{stop_after}", stop_after)
        resumed, again = train(study, tmp_path / f"{stop_after}")
        assert again == measured
        assert resumed.sgd_steps == whole.sgd_steps
        assert resumed.examples_read == whole.examples_read
        assert resumed.refilled_after == ()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, caplog, damage):
    study = tiny("example", 2, {"target": "0.1"})
    _, measured = train(study, None)
    for stop_after in (2, 2):
        with pytest.raises(Stopped):
            train(study, tmp_path, stop_after + len(list(tmp_path.glob("[0-9]*"))))
    older, newest = sorted(tmp_path.glob("[0-9]*"), key=lambda path: int(path.name))
    largest = max((newest / "pipeline").iterdir(), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    if damage == "missing":
        largest.unlink()
    else:
        half = len(content) // 2
        largest.write_bytes(content[:half] if damage == "cut" else content[:half] + b"\xff\x00" + content[half + 2 :])
    _, again = train(study, tmp_path)
    assert again == measured
    assert f"{newest} is damaged" in caplog.text and str(older) not in caplog.text


@pytest.mark.slow
def test_a_pipeline_that_is_too_large_is_filled_anew_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "PIPELINE_BYTES", 100)
    study = tiny("example", 2, {"target": "0.1"})
    whole, measured = train(study, None)
    with pytest.raises(Stopped):
        train(study, tmp_path, 2)
    assert not list(tmp_path.glob("*/pipeline"))
    resumed, again = train(study, tmp_path)
    assert again[:2] == measured[:2] and again[2:] != measured[2:]
    assert resumed.refilled_after == (8,)
    assert resumed.examples_read >= study.fresh_examples(study.budget_steps)
    assert abs(resumed.examples_read - whole.examples_read) <= 2 * study.shuffle_buffer


def test_a_trial_of_seconds_saves_nothing(tmp_path):
    train(tiny(), tmp_path / "checkpoints")
    assert not (tmp_path / "checkpoints").exists()


def test_the_newest_two_are_kept(tmp_path):
    train(tiny(overrides={"target": "0.1"}), tmp_path, every_seconds=1e-9)
    assert {path.name for path in tmp_path.iterdir()} == {"23", "24"}


def test_another_revisions_checkpoint_is_not_used(tmp_path, monkeypatch, caplog):
    study = tiny("example", 2, {"target": "0.1"}, searches=1, trials=1)
    monkeypatch.setattr(worker, "CHECKPOINT_SECONDS", 1e9)
    folder = store.TrialFolder(tmp_path, study, 0, 0)
    append = store.TrialFolder.append

    def asked(self, measurement):
        append(self, measurement)
        if measurement.sgd_steps == 8:
            stopping.ask()

    with monkeypatch.context() as patch:
        patch.setattr(store.TrialFolder, "append", asked)
        with pytest.raises(Stopped):
            worker.run_task(tmp_path, study, 0, 0)
    assert [path.name for path in folder.checkpoints.iterdir()] == ["8"]
    stopping.forget()
    store.provenance.cache_clear()
    monkeypatch.setattr(store, "_git_revision", lambda: "another")
    worker.run_task(tmp_path, study, 0, 0)
    store.provenance.cache_clear()
    assert "is of another revision or machine; its trial begins anew" in caplog.text
    assert folder.description()["provenance"]["git_revision"] == "another"
    assert folder.result() is not None and not folder.checkpoints.exists()
