from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from analysis import evidence
from experiments import advise as advise_a_workload
from pipelines.echoing.advice import __main__ as command
from pipelines.echoing.advice import advise, worth
from pipelines.echoing.advice.__main__ import load_config, main
from pipelines.echoing.advice.keras_fit import advise_fit
from pipelines.echoing.advice.loaders import as_loader
from pipelines.echoing.tfdata.loader import PARALLEL, DatasetBatches, Pipeline


def test_a_pipeline_is_timed_with_its_own_options():
    options = tf.data.Options()
    options.deterministic = False
    examples = tf.data.Dataset.range(100).map(lambda i: {"index": i}).repeat().with_options(options)
    loader = Pipeline(examples, batch_size=4, shuffle_buffer=8)
    built = loader._build(loader._stages("batch", 2)).options()
    assert built.deterministic is False
    assert built.autotune.enabled is None
    assert built.experimental_optimization.map_parallelization is None


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


def quickly(*arguments, **named):
    return advise(*arguments, seconds=0.02, rounds=1, progress=lambda line: None, **named)


def numbers(count=100):
    return tf.data.Dataset.range(count).map(lambda i: {"index": i})


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("place", ["example_before_augmentation", "example_after_augmentation", "batch"])
def test_each_place_of_named_stages(place, endless):
    """Also where the dataset ends."""
    examples = numbers().repeat() if endless else numbers()
    loader = Pipeline(examples, 4, 8, augment=lambda dataset: dataset.map(lambda e: {"index": -e["index"]}))
    assert loader.length == (None if endless else 25)
    for batches in (loader.batches(), loader.downstream(place), loader.echoed(place, 2)):
        iterator = iter(batches)
        seen = [next(iterator)["index"] for _ in range(60)]
        iterator.close()
        assert all(batch.shape == (4,) and (batch <= 0).all() for batch in seen)
    upstream = iter(loader.upstream(place))
    assert len([next(upstream) for _ in range(60)]) == 60


def test_examples_of_varying_shape_are_padded_by_the_user():
    varying = tf.data.Dataset.range(40).map(lambda i: tf.range(i % 5 + 1))
    loader = Pipeline(varying, 4, 8, batched=lambda dataset: dataset.padded_batch(4))
    seen = []
    assert quickly(loader, lambda batch: seen.append(batch.shape)).read.mean > 0
    assert {shape[0] for shape in seen} == {4} and len({shape[1] for shape in seen}) > 1


def test_reading_that_is_named_is_tried_in_parallel():
    loader = Pipeline(tf.data.Dataset.range(10), 2, 4, read=lambda i: {"index": i})
    assert list(loader.remedies()) == [PARALLEL]
    parallel = loader.remedies()[PARALLEL]
    assert not parallel.remedies()
    batches = iter(parallel.batches())
    assert sorted(next(batches)["index"].tolist()) != []
    batches.close()


@pytest.mark.parametrize("shapes", [((4, 3), (4,)), ((None, 3), (None,))])
def test_examples_that_are_batches_already_are_noticed(shapes):
    def batch(i):
        return tuple(tf.ensure_shape(tf.zeros([4, *shape[1:]]), shape) for shape in shapes)

    with pytest.raises(ValueError, match=r"look like batches.*hand over the dataset itself"):
        Pipeline(tf.data.Dataset.range(3).map(batch), 4, 8)


def test_a_dataset_of_batches_is_taken_as_it_is():
    batches = tf.data.Dataset.range(40).batch(4)
    loader = as_loader(batches)
    assert isinstance(loader, DatasetBatches)
    assert (loader.length, loader.places) == (10, ("batch",))
    echoed = iter(loader.echoed("batch", 2))
    assert [int(next(echoed)[0]) for _ in range(22)] == [n for n in range(0, 40, 4) for _ in "ab"] + [0, 0]
    echoed.close()
    taken = []
    advice = quickly(batches, lambda batch: taken.append(type(batch)))
    assert set(taken) == {np.ndarray}
    assert advice.batch_bytes == 32


def test_ragged_batches_come_as_they_are():
    ragged = tf.data.Dataset.range(40).map(lambda i: tf.range(i % 5)).ragged_batch(4)
    taken = []
    quickly(ragged, lambda batch: taken.append(type(batch)))
    assert set(taken) == {tf.RaggedTensor}


CONFIG = """
import tensorflow as tf
from pipelines.echoing.tfdata.loader import Pipeline

def loader():
    examples = tf.data.Dataset.range(100).map(lambda i: {"index": i})
    return Pipeline(examples, batch_size=4, shuffle_buffer=8, augment=lambda dataset: dataset)

def step(batch):
    assert batch["index"].shape == (4,)
"""


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(command, "advise", quickly)


@pytest.mark.usefixtures("short")
def test_command_line_on_a_file(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG)
    assert main([str(file), "--confirm"]) == 0
    printed = capsys.readouterr().out
    for place in ("example_before_augmentation", "example_after_augmentation", "batch"):
        assert f"in front of the place {place} " in printed


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        ("tf.data.Dataset.range(0)", "the pipeline gives no batches"),
        ("tf.data.Dataset.range(10**6).map(lambda i: tf.gather(tf.range(20), i))", "the pipeline failed"),
    ],
)
def test_a_pipeline_that_is_empty_or_fails_is_one_line(dataset, named, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG.replace("tf.data.Dataset.range(100)", dataset))
    assert main([str(file)]) == 1
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if line.startswith("error: ")] == error[-1:]
    assert named in error[-1]


@pytest.mark.parametrize("error", ["ValueError", "OSError", "TypeError"])
def test_errors_of_the_files_own_code_show_where_they_are(tmp_path, error):
    file = tmp_path / "mine.py"
    file.write_text(CONFIG.replace("examples = tf", f"raise {error}('mine')\n    examples = tf"))
    with pytest.raises(eval(error), match="mine"):
        main([str(file)])


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
        ("def step(batch): pass", "must define loader"),
        ("loader = [1, 2]", "must define step"),
        ("loader = 3\ndef step(batch): pass", "loader must be an iterable of batches"),
        ("loader = iter([1, 2])\ndef step(batch): pass", "a function that makes it anew"),
    ],
)
def test_a_bad_file_is_one_line(content, named, tmp_path, capsys):
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    assert main([str(file)]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("timing ")]
    assert len(error) == 1
    assert error[0].startswith("error: ")
    assert named in error[0]


def test_the_example_is_a_loader_and_a_step():
    loader, step = load_config(Path("experiments/examples/own_dataset.py"))
    batches = iter(loader.echoed("example_before_augmentation", 2))
    batch = next(batches)
    step(batch)
    batches.close()
    assert batch["image"].shape == (32, 32, 32, 3)
    assert batch["image"].dtype == np.uint8
    assert len(set(batch["label"].tolist())) > 1


X, Y = np.random.default_rng(0).normal(size=(2, 24, 1)).astype(np.float32)


class Read(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("kind", ["arrays", "dataset", "PyDataset"])
def test_advice_for_a_fit_leaves_the_model_as_it_was(kind, built):
    def model():
        keras.utils.set_random_seed(0)
        inputs = [keras.Input((1,))] if built else []
        layers = [keras.layers.Dense(3), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
        made = keras.Sequential([*inputs, *layers])
        made.compile("adam", "mse")
        return made

    data = {
        "arrays": {"x": X, "y": Y, "batch_size": 4, "shuffle": False},
        "dataset": {"x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)},
        "PyDataset": {"x": Read(), "shuffle": False},
    }[kind]
    advised, plain = model(), model()
    advice = advise_fit(advised, **data, epochs=3, seconds=0.02, rounds=1)
    assert (advice.length, advice.epochs) == (6, 3)
    if not built:
        plain.predict(X, verbose=0)
        for variable, value in zip(plain.variables, advised.variables, strict=True):
            variable.assign(value)
    for each in (advised, plain):
        keras.utils.set_random_seed(1)
        each.fit(**data, verbose=0, epochs=2)
    for ours, theirs in zip(advised.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_advice_for_a_fit_without_data():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="no data"):
        advise_fit(model)


@pytest.mark.parametrize("ratio", ["1e12", "1e300"])
def test_a_source_slower_than_anyone_waits_for_is_refused(ratio, capsys):
    assert advise_a_workload.main(["--workload=transformer_lm1b", "--scale=smoke", f"--ratio={ratio}"]) == 1
    assert "error: --ratio must be at most" in capsys.readouterr().err
