import dataclasses
import shutil

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from experiments import backbone, command_line, figure3, workloads
from experiments.protocol.study import ConfigError, make_study
from experiments.protocol.training import Training


def train(folder, *flags):
    """Runs the command for two updates on a few images; returns its exit code."""
    sizes = {
        "data.data_dir": folder / "data",
        "data.train_examples": 80,
        "data.validation_examples": 20,
        "eval_batch_size": 20,
        "shuffle_buffer": 1,
        "batch_size": 8,
        "budget_fresh_examples.baseline": 16,
    }
    overrides = [f"--config.{key}={value}" for key, value in sizes.items()]
    return backbone.main(["--scale=smoke", f"--out={folder / 'backbone.npz'}", *overrides, *flags])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    assert train(folder) == 0
    return folder / "backbone.npz"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def ssd(scenes):
    def study(init_from=None):
        files = {"data.data_dir": scenes} | ({} if init_from is None else {"model.init_from": init_from})
        sizes = {"data.train_examples": 20, "data.validation_examples": 10, "shuffle_buffer": 1}
        overrides = {key: str(value) for key, value in (files | sizes).items()}
        return make_study(workloads.load("ssd_coco", "smoke", overrides), "baseline", 1)

    return study


def first_state(study, monkeypatch):
    """Variables that the first update of a study's trial begins with, by path."""
    training = Training(study)
    monkeypatch.setattr(training.model, "update", lambda state, batch, point: (state, 0.0))
    training.update(next(training.batches(training.examples).as_numpy_iterator()))
    return flatten_dict({"params": training.state.params, "batch_stats": training.state.model_state}, sep="/")


@pytest.mark.slow
def test_the_backbone_starts_from_the_file_and_the_rest_as_without(file, ssd, monkeypatch):
    with np.load(file) as stored:
        trained = dict(stored)
    random, given = (first_state(study, monkeypatch) for study in (ssd(), ssd(file)))
    assert set(random) == set(given)
    backbone_only = Training(ssd(file)).model.backbone()
    assert {"params/stem/kernel", "batch_stats/stem_norm/mean", "params/Conv_4/kernel"} <= set(backbone_only)
    for name, array in given.items():
        np.testing.assert_array_equal(array, trained[name] if name in backbone_only else random[name])
    assert not np.array_equal(random["params/stem/kernel"], trained["params/stem/kernel"])
    assert trained["batch_stats/stem_norm/mean"].any()


def test_a_study_is_known_by_what_the_file_holds_and_not_by_where_it_lies(file, ssd, tmp_path):
    shutil.copy(file, tmp_path / "copy.npz")
    with np.load(file) as stored:
        np.savez(tmp_path / "other.npz", **{name: stored[name] + 1 for name in stored})
    names = [ssd(path).name for path in (None, file, tmp_path / "copy.npz", tmp_path / "other.npz")]
    assert names[1] == names[2] and len(set(names)) == 3
    assert not [key for key in (*ssd().config, *ssd().config["model"]) if "init_from" in key]
    read_back = type(ssd()).from_json(ssd(file).to_json())
    assert read_back.name == ssd(file).name


def damaged(file, path):
    path.write_bytes(file.read_bytes()[:-500])


def flipped(file, path):
    content = bytearray(file.read_bytes())
    content[content.index(b"params/stem/kernel.npy") + 1000] ^= 255
    path.write_bytes(content)


def pickled(file, path):
    np.savez(path, **{"params/stem/kernel": np.array([{}])})


def single(file, path):
    with path.open("wb") as out:
        np.save(out, np.zeros(3))


def narrower(file, path):
    with np.load(file) as stored:
        np.savez(path, **{name: stored[name][..., :2] for name in stored})


def lacking(file, path):
    with np.load(file) as stored:
        np.savez(path, **{name: stored[name] for name in stored if name != "params/Conv_4/kernel"})


def of_another_type(file, path):
    with np.load(file) as stored:
        np.savez(path, **{name: stored[name].astype(np.float64) for name in stored})


def unrelated(file, path):
    np.savez(path, weights=np.zeros(3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damaged, "is damaged"),
        (flipped, "is damaged"),
        (pickled, "is damaged"),
        (single, "is damaged"),
        (narrower, r"in 30 of 30 arrays; .* is float32 \(2,\) and should be float32 \(4,\)"),
        (lacking, "in 1 of 30 arrays; the first is params/Conv_4/kernel, which is missing"),
        (of_another_type, "in 30 of 30 arrays; .* is float64"),
        (unrelated, "in 30 of 30 arrays; .* is missing"),
    ],
)
def test_a_file_that_does_not_do_is_named_in_one_line(file, ssd, tmp_path, change, said):
    path = tmp_path / "changed.npz"
    change(file, path)
    with pytest.raises(ConfigError, match=rf"config.model.init_from: {path} .*{said}") as refused:
        Training(ssd(path))
    assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_changed_since_the_study_was_made_is_refused(file, ssd, tmp_path):
    path = tmp_path / "backbone.npz"
    shutil.copy(file, path)
    study = ssd(path)
    unrelated(file, path)
    with pytest.raises(ConfigError, match="is not the file that the study was made with"):
        Training(study)
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        Training(study)


def test_a_file_that_is_not_there_or_holds_no_arrays_is_refused_before_anything_runs(tmp_path, capsys):
    command = ["--scale=smoke", "--panel=e", f"--runs={tmp_path / 'runs'}", f"--config.model.init_from={tmp_path}/none"]
    assert command_line.main(figure3.EXPERIMENT, command) == 1
    assert capsys.readouterr().err == f"error: config.model.init_from: {tmp_path}/none: No such file or directory\n"
    (tmp_path / "none").write_text("no arrays", encoding="utf-8")
    assert command_line.main(figure3.EXPERIMENT, command) == 1
    assert f"{tmp_path}/none is damaged, or nothing that" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_another_network_has_no_such_setting():
    with pytest.raises(ConfigError, match=r"unknown config key model\.init_from"):
        workloads.load("resnet50_imagenet", "smoke", {"model.init_from": "x"})


def test_a_classifier_that_diverges_is_one_line_and_no_file(tmp_path, capsys):
    assert train(tmp_path, "--learning-rate=1e30", "--config.budget_fresh_examples.baseline=80") == 1
    assert "error: the classifier diverged at update" in capsys.readouterr().err
    assert not (tmp_path / "backbone.npz").exists()


@pytest.mark.parametrize("scale", workloads.SCALES)
def test_the_classifier_has_ssds_stages(scale):
    model, ssd = backbone.classifier(scale, {}).model, workloads.load("ssd_coco", scale).model
    assert model.stages[:-1] == ssd.stages and (model.width, model.stem) == (ssd.width, ssd.stem)
    changed = dataclasses.asdict(make_study(backbone.classifier(scale, {"model.width": "2"}), "baseline", 1))
    assert changed["config"]["model"]["width"] == 2
