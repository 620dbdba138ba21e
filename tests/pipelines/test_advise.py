import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from analysis import evidence
from pipelines.echoing.advice import advise as advise_module
from pipelines.echoing.advice import worth
from pipelines.echoing.advice.__main__ import load_config, main
from pipelines.echoing.advice.advise import Advice, Pipeline, advise, choose
from pipelines.echoing.advice.timing import Seconds, Timing
from pipelines.echoing.advice.worth import Worth
from pipelines.echoing.tfdata.datasets import iterating
from pipelines.echoing.tfdata.stages import Stages

KNOWN = [
    Worth("paper", "a", "example", 2.0, 0.5),
    Worth("paper", "a", "example", 4.0, 0.3),
    Worth("paper", "a", "batch", 2.0, 0.7),
]


def timing(upstream, downstream):
    sides = (Seconds(side, side, side) for side in (upstream, downstream, downstream))
    return Timing(*sides, echo=0.0, shuffle=0.0)


@pytest.mark.parametrize(
    ("upstream", "factor", "ideal"), [(0.5, 1.0, 1.0), (1.05, 1.0, 1.0), (1.58, 1.5, 1.5), (4.0, 4.0, 4.0)]
)
def test_the_factor_is_the_ratio_and_one_where_echoing_cannot_pay(upstream, factor, ideal):
    choice = choose("example", timing(upstream, 1.0), [])
    assert choice.echo_factor == factor
    assert choice.ideal_speedup == pytest.approx(ideal)


def test_likely_speedups_follow_from_results_at_the_factor():
    assert choose("example", timing(4.0, 1.0), KNOWN).likely == ((KNOWN[1], pytest.approx(1 / 0.3)),)
    ((between, speedup),) = choose("example", timing(1.5, 1.0), KNOWN).likely
    assert (between.echo_factor, between.share) == (1.5, pytest.approx(1 / 1.5))  # at e = 2 echoed data are as fresh
    assert speedup == pytest.approx(1.5)
    assert choose("batch", timing(4.0, 1.0), KNOWN).likely == ((KNOWN[2], pytest.approx(1 / 0.7)),)


def test_the_factor_is_none_that_nobody_has_tried():
    choice = choose("example", timing(200.0, 1.0), KNOWN)
    assert choice.echo_factor == 4
    assert "e = R would be 200.0; nothing is known of e above 4" in str(Advice((choice,)))
    assert choose("example", timing(200.0, 1.0), []).echo_factor == 200


def test_the_factor_is_none_that_was_not_tried_at_this_place():
    known = [*KNOWN, Worth("paper", "b", "example", 16.0, 0.1)]
    assert choose("batch", timing(20.0, 1.0), known).echo_factor == 2
    assert choose("example", timing(20.0, 1.0), known).echo_factor == 16


def test_a_pipeline_is_timed_with_its_own_options():
    options = tf.data.Options()
    options.deterministic = False
    examples = tf.data.Dataset.range(100).map(lambda i: {"index": i}).repeat().with_options(options)
    built = Pipeline(examples, batch_size=4, shuffle_buffer=8).build(Stages("batch", 2, 4, 8)).options()
    assert built.deterministic is False
    assert built.autotune.enabled is None
    assert built.experimental_optimization.map_parallelization is None


def test_a_place_where_echoing_cannot_pay_comes_last(monkeypatch):
    monkeypatch.setattr(worth, "load", lambda: [Worth("paper", "a", "batch", 2.0, 0.999)])
    times = {"example": timing(0.5, 1.0), "batch": timing(1.3, 1.0)}
    monkeypatch.setattr(advise_module, "measure", lambda examples, stages, step, **_: times[stages.variant])
    pipeline = Pipeline(tf.data.Dataset.range(10).repeat(), batch_size=4, shuffle_buffer=8)
    advice = advise(pipeline, lambda batch: None)
    assert advice.best is not None
    assert advice.best.variant == "batch"


def test_idle_time_that_known_results_do_not_pay_for_is_reported():
    useless = Advice((choose("batch", timing(4.0, 1.0), [Worth("paper", "a", "batch", 4.0, 1.05)]),))
    assert useless.best is None
    assert "echoed data were of no use" in str(useless)
    assert "0.95 times as fast" in str(useless)


def test_half_a_small_factor_is_not_suggested():
    assert "Try also" not in str(Advice((choose("example", timing(1.5, 1.0), KNOWN),)))
    assert "Try also e = 1.5" in str(Advice((choose("example", timing(3.0, 1.0), KNOWN),)))


def test_the_report_says_when_not_to_echo():
    printed = str(Advice((choose("example", timing(0.5, 1.0), KNOWN), choose("batch", timing(0.6, 1.0), KNOWN))))
    assert "Do not echo" in printed
    assert "e = " not in printed


def test_the_report_names_place_factor_and_results():
    advice = Advice((choose("example", timing(4.0, 1.0), KNOWN), choose("batch", timing(0.9, 1.0), KNOWN)))
    printed = str(advice)
    assert advice.best is advice.choices[0]
    assert "idles 75% of the time" in printed
    assert "(example), e = 4." in printed
    assert "a (paper): 0.30 of the fresh examples at e = 4, so 3.33 times as fast" in printed
    assert "Not at batch" in printed


def test_the_most_promising_place_comes_first(monkeypatch):
    times = {"example": timing(4.0, 1.0), "batch": timing(4.0, 0.9)}
    monkeypatch.setattr(advise_module, "measure", lambda examples, stages, step, **_: times[stages.variant])
    monkeypatch.setattr(worth, "load", lambda: KNOWN)
    pipeline = Pipeline(tf.data.Dataset.range(10).repeat(), batch_size=4, shuffle_buffer=8)
    assert [choice.variant for choice in advise(pipeline, lambda batch: None).choices] == ["example", "batch"]
    monkeypatch.setattr(worth, "load", lambda: [])
    assert [choice.variant for choice in advise(pipeline, lambda batch: None).choices] == ["batch", "example"]


def test_the_papers_numbers_are_read_at_the_default_batch_size():
    found = {(w.source, w.workload, w.variant, w.echo_factor): w.share for w in worth.load()}
    assert found["paper", "transformer_lm1b", "example", 2.0] == pytest.approx(0.516, abs=1e-3)
    assert found["paper", "resnet50_imagenet", "example_before_augmentation", 5.0] == pytest.approx(1 / 4.113, abs=1e-3)
    assert found["paper", "resnet50_imagenet", "batch", 2.0] == pytest.approx(1.050, abs=1e-3)
    assert ("paper", "transformer_lm1b", "baseline", 1.0) not in found


def test_our_numbers_are_read_at_the_workloads_own_batch_size():
    own = pd.read_csv("results/small/figure5.csv").query("batch_size == 32").set_index("echo_factor")
    fresh = own["mean_fresh_examples"]
    found = {(w.source, w.workload, w.echo_factor): w.share for w in worth.load() if w.variant == "example"}
    ours = found["ours, small scale", "transformer_lm1b", 16.0]
    assert ours == pytest.approx(fresh[16.0] / fresh[1.0], abs=1e-4)


def test_a_result_that_missed_its_target_is_no_evidence(tmp_path):
    columns = "workload,variant,echo_factor,batch_size,searches,reached,mean_fresh_examples"
    rows = ["w,baseline,1.0,8,5,5,100", "w,batch,2.0,8,5,4,60", "w,example,2.0,8,5,5,50"]
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "figure3.csv").write_text("\n".join([columns, *rows]))
    ours = evidence.table(tmp_path).query("source != 'paper'")
    assert ours.to_numpy().tolist() == [["ours, small scale", "w", "example", 2.0, 0.5]]


def test_a_folder_without_results_has_the_papers_alone(tmp_path):
    assert set(evidence.table(tmp_path)["source"]) == {"paper"}


def test_committed_evidence_is_that_of_the_committed_results(tmp_path):
    evidence.save(tmp_path / "evidence.csv")
    assert (tmp_path / "evidence.csv").read_text() == worth.EVIDENCE.read_text()


CONFIG = """
import tensorflow as tf
from pipelines.echoing.advice.advise import Pipeline

def pipeline():
    examples = tf.data.Dataset.range(100).map(lambda i: {"index": i}).repeat()
    return Pipeline(examples, batch_size=4, shuffle_buffer=8, augment=lambda dataset: dataset)

def step(batch):
    assert batch["index"].shape == (4,)
"""


def test_command_line_on_a_file(tmp_path, capsys, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG)
    short = advise_module.advise
    monkeypatch.setattr(advise_module, "advise", lambda *parts: short(*parts, seconds=0.02, rounds=1))
    assert main([f"--config={file}"]) == 0
    printed = capsys.readouterr().out
    for variant in ("example_before_augmentation", "example_after_augmentation", "batch"):
        assert re.search(rf"^{variant} +\d", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        ('tf.data.Dataset.range(30).map(lambda i: {"index": i})', "make it endless: dataset.repeat()"),
        ('tf.data.Dataset.range(0).map(lambda i: {"index": i})', "make it endless: dataset.repeat()"),
        (
            'tf.data.Dataset.range(10**6).map(lambda i: {"index": tf.gather(tf.range(20), i)})',
            "the pipeline failed",
        ),
    ],
)
def test_a_pipeline_that_ends_or_fails_is_one_line(dataset, named, tmp_path, capsys, monkeypatch):
    file = tmp_path / "mine.py"
    endless = 'tf.data.Dataset.range(100).map(lambda i: {"index": i}).repeat()'
    file.write_text(CONFIG.replace(endless, dataset))
    short = advise_module.advise
    monkeypatch.setattr(advise_module, "advise", lambda *parts: short(*parts, seconds=0.02, rounds=1))
    assert main([f"--config={file}"]) == 1
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if line.startswith("error: ")] == error[-1:]
    assert named in error[-1]


@pytest.mark.parametrize("error", ["ValueError", "OSError", "TypeError"])
def test_errors_of_the_files_own_code_show_where_they_are(tmp_path, error):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG.replace("examples = tf", f"raise {error}('mine')\n    examples = tf"))
    with pytest.raises(eval(error), match="mine"):
        main([f"--config={file}"])


def test_a_file_imports_from_beside_it(tmp_path):
    (tmp_path / "beside_it.py").write_text("SIZE = 4")
    (tmp_path / "mine.py").write_text(
        "import beside_it\n" + CONFIG.replace("batch_size=4", "batch_size=beside_it.SIZE")
    )
    assert load_config(tmp_path / "mine.py")[0].batch_size == 4


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "is not a file"),
        ("def step(batch): pass", "pipeline()"),
        ("def pipeline(): return 3", "step()"),
        ("def pipeline(): return 3\ndef step(batch): pass", "must return an advise.Pipeline"),
    ],
)
def test_a_bad_file_is_one_line(content, named, tmp_path, capsys):
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    assert main([f"--config={file}"]) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith("error: ")
    assert named in error[0]


def test_the_example_is_a_pipeline_and_a_step():
    pipeline, step = load_config(Path("experiments/examples/own_dataset.py"))
    batches = pipeline.build(Stages("example_before_augmentation", 2, 8, 0))
    with iterating(batches) as iterator:
        batch = next(iterator)
        step(batch)
    assert batch["image"].shape == (8, 32, 32, 3)
    assert batch["image"].dtype == np.uint8
    assert len(set(batch["label"].tolist())) > 1
