"""Tables that were damaged or edited by hand: each fault is named in one line, with the file and the row."""

import pandas as pd
import pytest

from analysis import command_line, detections, figure3, timeline
from analysis.statistics import paper
from experiments.protocol import tables
from experiments.protocol.study import ResultsError

SMALL = paper.PUBLISHED_FOLDER.parent / "small"


def read(tmp_path, change, name="trials"):
    """Reads a committed table after a change."""
    (tmp_path / "small").mkdir()
    suffix = "parquet" if name == "measurements" else "csv"
    read_table, written = (pd.read_parquet, "to_parquet") if suffix == "parquet" else (pd.read_csv, "to_csv")
    getattr(change(read_table(SMALL / f"{name}.{suffix}")), written)(
        tmp_path / "small" / f"{name}.{suffix}", index=False
    )
    return tables.read(tmp_path, "small", name)


def put(column, value, row=3):
    """A change of one cell."""

    def change(rows):
        rows[column] = rows[column].astype(object)
        rows.loc[row, column] = value
        return rows

    return change


@pytest.mark.parametrize("name", ["trials", "studies", "measurements"])
def test_committed_tables_obey_the_rules(tmp_path, name):
    assert len(read(tmp_path, lambda rows: rows, name))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("trials", "search"),
        ("trials", "status"),
        ("studies", "config"),
        ("studies", "bound"),
        ("measurements", "value"),
    ],
)
def test_a_missing_column_is_named(tmp_path, name, column):
    with pytest.raises(ResultsError, match=rf"{name}\..* has no column {column}; restore it"):
        read(tmp_path, lambda rows: rows.drop(columns=column), name)


@pytest.mark.parametrize("name", ["trials", "studies", "measurements"])
def test_rows_that_stand_twice_are_named(tmp_path, name):
    size = len(tables.read(SMALL.parent, "small", name))
    with pytest.raises(ResultsError, match=rf"has rows twice: {size} of them, the first is line {size + 2}"):
        read(tmp_path, lambda rows: pd.concat([rows, rows]), name)


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("status", "finished", "status must be one of complete, bounded, infeasible, got 'finished'"),
        ("status", None, "status must be one of"),
        ("search", "first", "search must be a number, got 'first'"),
        ("echo_factor", None, "echo_factor must be a number"),
        ("best_metric", "good", "best_metric must be a number, got 'good'"),
        ("fresh_examples_to_target", "9,600", "fresh_examples_to_target must be a number, got '9,600'"),
        ("reached_target", "perhaps", "reached_target must be True or False"),
        ("workload", None, "workload must not be empty"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(tmp_path, column, value, fault):
    with pytest.raises(ResultsError, match=rf"trials\.csv, line \d+: {fault}"):
        read(tmp_path, put(column, value))


def test_no_best_value_and_no_target_are_fine(tmp_path):
    assert read(tmp_path, put("best_metric", None))["best_metric"].isna().any()


def test_a_damaged_table_is_one_line_and_exit_1(tmp_path, capsys):
    with pytest.raises(ResultsError):
        read(tmp_path, lambda rows: rows.drop(columns="search"))
    (tmp_path / "small" / "studies.csv").write_bytes((SMALL / "studies.csv").read_bytes())
    assert command_line.main(None, figure3.ANALYSIS.make, ["--scale=small", f"--results={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "has no column search" in error


def timed(tmp_path, **cells):
    """The committed reruns, with cells of their first row replaced, in a folder of results of their own."""
    rows = pd.read_csv(SMALL / "wall_clock.csv").astype(object)
    for column, value in cells.items():
        rows.loc[0, column] = value
    (tmp_path / "small").mkdir()
    rows.to_csv(tmp_path / "small" / "wall_clock.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("cells", [{"seconds": None}, {"seconds": "soon"}, {"t_downstream": None}, {"ratio": "two"}])
def test_a_rerun_that_reached_the_target_has_its_times(tmp_path, cells):
    with pytest.raises(ResultsError, match=rf"wall_clock.csv, line 2: {next(iter(cells))} must be a number"):
        tables.wall_clock(timed(tmp_path, **cells), "small")


def test_a_rerun_that_missed_its_target_has_no_times(tmp_path):
    results = timed(tmp_path, reached_target=False, seconds=None, fill_seconds=None, fresh_examples=None)
    assert len(tables.wall_clock(results, "small")) == len(pd.read_csv(SMALL / "wall_clock.csv"))


def test_scales_without_reruns_have_none(tmp_path):
    assert tables.wall_clock(tmp_path, "small").empty


@pytest.mark.parametrize(("drawn", "name"), [(timeline, "timeline.csv"), (detections, "detections.parquet")])
@pytest.mark.parametrize("damage", [b"", b"\xff\x00", b"a,b\n1,2\n", None])
def test_what_is_drawn_from_a_damaged_recording_names_what_records_it(tmp_path, drawn, name, damage):
    (tmp_path / "small").mkdir()
    if damage is not None:
        (tmp_path / "small" / name).write_bytes(damage)
    with pytest.raises(
        ResultsError, match=rf"{name} is (missing|damaged).* run `python -m experiments.\w+ --scale=small"
    ):
        drawn.make(tmp_path, "small")
