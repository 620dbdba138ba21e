import subprocess
import sys

import pytest
from small_studies import OVERRIDES

from analysis import figure3 as analysis_figure3
from analysis.command_line import main as analysis_main
from experiments import collect, figure3, figure5, figure6, replicate, timeline, timings, workloads
from experiments.command_line import main
from experiments.protocol.study import make_study
from pipelines.sources import composites
from pipelines.sources import registry as sources


def run(*arguments):
    return main(figure3.EXPERIMENT, list(arguments))


def one_line(captured):
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--scale=small", "--bogus"], "--bogus"),
        (["--scale=huge"], "huge"),
        ([], "--scale"),
        (["--scale=small", "--panel=z"], "z"),
        (["--scale=small", "--workers=0"], "workers"),
        (["--scale=small", "--workers=two"], "must be a whole number above 0, got 'two'"),
        (["--scale=small", "--seconds-per-update=fast"], "must be a number above 0, got 'fast'"),
        (["--scale=small", "--seconds-per-update=inf"], "must be a number above 0, got 'inf'"),
        (["--scale=small", "--sca=small"], "--sca"),
        (["--scale=small", "--config.batch_size"], "--config.batch_size"),
    ],
)
def test_bad_flag_is_one_line_and_exit_code_2(arguments, named, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(*arguments)
    assert exit_info.value.code == 2
    assert named in one_line(capsys.readouterr())


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("batch_sise=3", "did you mean batch_size?"),
        ("qwxz=3", "unknown config key qwxz of transformer_lm1b; it has batch_size, "),
        ("batch_size=9000000", "is less than a batch of 9,000,000"),
        ("workload=ssd_coco", "--panel chooses it"),
        ("scale=paper", "--scale chooses it"),
        ("model.depth=3", "model.depth"),
        ("batch_size=-1", "batch_size"),
        ("batch_size=many", "config.batch_size must be a whole number from 1 to 10,000,000, got 'many'"),
        ("model=7", "model"),
        ("shuffle_buffer=-5", "shuffle_buffer"),
        ("model.width=0", "model.width"),
        ("goal=sideways", "goal"),
        ("search_space.momentum.high=1.5", "search_space.momentum"),
        ("search_space.learning_rate.scale=cubic", "search_space.learning_rate"),
    ],
)
def test_bad_setting_is_named(setting, named, capsys):
    assert run("--scale=small", f"--config.{setting}", "--plan") == 1
    assert named in one_line(capsys.readouterr())


def test_a_typed_setting_holds_where_the_workload_has_another(capsys):
    config = workloads.load("transformer_lm1b", "small")
    assert any("trials" in change for change in config["at"].values())
    assert main(figure5.EXPERIMENT, ["--scale=small", "--plan", "--config.trials=3"]) == 0
    planned = [line.split()[2] for line in capsys.readouterr().out.splitlines() if line.startswith("transformer")]
    assert set(planned) == {str(3 * config.searches)}


def test_missing_dataset_is_one_line(tmp_path, capsys):
    data = [f"--config.data.data_dir={tmp_path}", f"--runs={tmp_path / 'runs'}"]
    assert run("--scale=paper", "--engine=inline", *data) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: lm1b is not prepared in")
    assert "pipelines.sources.prepare lm1b" in error


@pytest.mark.slow
def test_damaged_image_is_named_in_one_line(tmp_path, capsys):
    small = ["data.train_examples=20", "data.validation_examples=10", f"data.data_dir={tmp_path / 'data'}"]
    arguments = ["--scale=smoke", "--panel=d", "--engine=inline", f"--runs={tmp_path / 'runs'}"]
    arguments += [f"--config.{setting}" for setting in [*small, "trials=1", "searches=1"]]
    settings = dict(setting.split("=") for setting in small)
    sources.load(workloads.load("resnet50_imagenet", "smoke", settings).data)  # composes the pictures
    for path in (tmp_path / "data").glob("*-train-*"):
        features = {"image": composites.bytes_feature(b"no image"), "label": composites.int64_feature([3])}
        composites.write_records([features], path)
    capsys.readouterr()
    assert run(*arguments) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: resnet50_imagenet/baseline")
    assert ".tfrecord__0: unreadable image" in last


@pytest.mark.slow
def test_unreachable_scheduler_is_one_line(tmp_path, capsys):
    assert run("--scale=smoke", "--scheduler=tcp://127.0.0.1:1", f"--runs={tmp_path}") == 1
    assert "error: no Dask scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err.splitlines()[-1]


def test_plan_needs_neither_tensorflow_nor_jax():
    """So it takes no time, for every figure and scale."""
    code = (
        "import sys; from experiments import figure3, figure4, figure5, figure6, figure7, figure8, workloads;"
        "from experiments.command_line import main\n"
        "for figure in (figure3, figure4, figure5, figure6, figure7, figure8):\n"
        "    for scale in workloads.SCALES:\n"
        "        assert main(figure.EXPERIMENT, [f'--scale={scale}', '--plan']) == 0\n"
        "assert not {'jax', 'tensorflow', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nall ") == 6 * len(workloads.SCALES)


def test_plan_adds_up(capsys):
    assert run("--scale=paper", "--panel=a", "--plan", "--seconds-per-update=0.36") == 0
    rows = {line.split("  ")[0]: line.split()[-4:] for line in capsys.readouterr().out.splitlines()}
    assert rows["transformer_lm1b baseline-e1-b1024-s1000000"] == ["500", "10,000,000", "10,240,000,000", "1,000.0"]
    assert rows["all"] == ["1,500", "40,000,000", "25,600,000,000", "4,000.0"]


def test_plan_takes_a_larger_batch_to_be_slower_in_proportion(capsys):
    arguments = ["--scale=paper", "--panel=a", "--plan", "--seconds-per-update=0.36"]
    assert main(figure6.EXPERIMENT, arguments) == 0
    rows = {line.split("  ")[0]: line.split()[-4:] for line in capsys.readouterr().out.splitlines()}
    assert rows["transformer_lm1b baseline-e1-b1024-s1000000"][1::2] == ["10,000,000", "1,000.0"]
    assert rows["transformer_lm1b baseline-e1-b4096-s1000000"][1::2] == ["7,500,000", "3,000.0"]


def test_plan_by_what_was_measured(tmp_path, capsys):
    """An update of 0.1 s and a second of evaluation every 1,000 on two devices, at half of the paper's batch."""
    study = make_study(workloads.load("transformer_lm1b", "paper", {"batch_size": "512"}), "baseline", 1)
    batches = -(-study.config["data"]["validation_examples"] // study.config["eval_batch_size"])
    record = timings.described(study) | {
        "device": {"kind": "H100", "count": 2},
        "update": {"seconds": 0.1, "state_bytes": 1e9, "peak_bytes": 9e9},
        "evaluation": {"seconds": study.config["eval_every_steps"] / 10 / batches},
        "input": {"examples_per_second": 2_048, "cores": 8},
    }
    file = tmp_path / "accelerator.json"
    file.write_text(timings.text([record]))
    assert run("--scale=paper", "--panel=a", "--plan", f"--timing={file}") == 0
    printed = capsys.readouterr().out
    (baseline,) = [line for line in printed.splitlines() if line.startswith("transformer_lm1b baseline")]
    # 0.2 s at the whole batch and 0.1 for evaluation, 10 million updates, two devices; 0.25 s of input for 0.1 s
    assert baseline.split()[-5:] == [f"{10e6 * 0.3 * 2 / 3600:,.1f}", "~33.0,", "5.0,", "2.0", "2.5"]
    assert "measured on 2 x H100" in printed
    assert run("--scale=paper", "--panel=d", "--plan", f"--timing={file}") == 0
    assert "unknown" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "", "[]", '{"records": 3}', '{"records": [{}]}', "\x00"])
def test_a_damaged_timing_file_is_one_line(tmp_path, capsys, content):
    file = tmp_path / "accelerator.json"
    if content is not None:
        file.write_text(content)
    assert run("--scale=paper", "--plan", f"--timing={file}") == 1
    assert "benchmarks.accelerator" in one_line(capsys.readouterr())


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--plan", "--status"], "two questions"),
        (["--engine=inline", "--scheduler=tcp://127.0.0.1:1"], "--engine=inline trains in this process"),
        (["--engine=inline", "--workers=2"], "--engine=inline trains in this process"),
    ],
)
def test_flags_that_exclude_each_other(flags, named, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--scale=smoke", *flags)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        (lambda argv: run(*argv), "--runs"),
        (collect.main, "--runs"),
        (collect.main, "--results"),
        (timeline.main, "--results"),
        (replicate.main, "--results"),
        (lambda argv: analysis_main("", lambda *_: "", argv), "--results"),
    ],
)
def test_a_file_where_a_folder_is_wanted_is_refused_at_once(tmp_path, capsys, command, flag):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        command(["--scale=small", f"{flag}={tmp_path / 'file' / 'below'}"])
    assert stopped.value.code == 2
    assert f"argument {flag}: must be a folder, but {tmp_path / 'file'} is a file" in capsys.readouterr().err


def test_status_of_a_folder_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--scale=smoke", "--status", f"--runs={tmp_path / 'nowhere'}")
    assert stopped.value.code == 2
    assert "nothing has run in" in capsys.readouterr().err


@pytest.mark.slow
def test_whole_way_inline(tmp_path, capsys):
    """Search, status, collection and plot of tiny studies."""
    settings = [
        f"--config.{key}={value}" for key, value in OVERRIDES.items() if key not in ("batch_size", "shuffle_buffer")
    ]
    runs = f"--runs={tmp_path / 'runs'}"
    assert run("--scale=smoke", "--panel=a", "--engine=inline", runs, *settings) == 0
    assert run("--scale=smoke", "--panel=a", "--status", runs, *settings) == 0
    assert "transformer_lm1b example-e2-b32-s100" in capsys.readouterr().out
    results = tmp_path / "results"
    assert collect.main(["--scale=smoke", runs, f"--results={results}"]) == 0
    assert analysis_main("", analysis_figure3.ANALYSIS.make, ["--scale=smoke", f"--results={results}"]) == 0
    for name in ("figure3.png", "figure3.svg", "figure3.csv", "claims_figure3.md"):
        assert (results / "smoke" / name).stat().st_size > 100


def test_analysis_without_results_says_what_to_run(tmp_path, capsys):
    assert analysis_main("", analysis_figure3.ANALYSIS.make, ["--scale=small", f"--results={tmp_path}"]) == 1
    assert "missing" in one_line(capsys.readouterr())


def test_collect_without_runs_says_what_to_run(tmp_path, capsys):
    assert collect.main(["--scale=smoke", f"--runs={tmp_path}", f"--results={tmp_path}"]) == 1
    assert "python -m experiments.figure3" in one_line(capsys.readouterr())
