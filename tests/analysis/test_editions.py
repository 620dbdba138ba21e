import pandas as pd
import pytest

from analysis import editions
from experiments.protocol.study import ResultsError


def claim(text, verdict, paper="0.5", workload="SSD", ours="0.6"):
    keys = {"figure": "3e", "workload": workload, "claim": text, "holds if": "below 1", "paper": paper}
    return keys | {"ours": ours, "95 %": "0.5 to 0.7", "verdict": verdict, "command": "a command"}


def write(folder, *claims):
    folder.mkdir(parents=True)
    pd.DataFrame(claims).to_csv(folder / "claims_figure3.csv", index=False)


def test_verdicts_are_counted_by_workload(tmp_path):
    first = (
        claim("a", "holds"),
        claim("b", "does not hold", paper="1.2 (does not hold)"),
        claim("c", "holds"),
        claim("d", "undecided"),
        claim("gone", "holds"),
        claim("e", "holds", workload="ResNet"),
    )
    second = (
        claim("a", "holds", ours="0.7"),
        claim("b", "does not hold", paper="1.2 (does not hold)"),
        claim("c", "does not hold"),
        claim("d", "holds"),
        claim("new", "holds", paper=""),
        claim("e", "not run", workload="ResNet", ours=""),
    )
    write(tmp_path / "small" / "first_edition", *first)
    write(tmp_path / "small" / "second", *second)
    (tmp_path / "small" / "second" / "claims_figure3.csv").rename(tmp_path / "small" / "claims_figure3.csv")
    claims = editions.compared(
        editions.read(tmp_path / "small" / "first_edition"), editions.read(tmp_path / "small")
    ).fillna("")
    assert dict(zip(claims["claim"], claims["ours, second"], strict=True))["a"] == "0.7"
    found = editions.counts(claims).set_index("workload")
    assert found.loc["SSD"].astype(int).tolist() == [6, 3, 1, 1, 1, 4, 3]
    assert found.loc["ResNet"].astype(int).tolist() == [1, 0, 0, 0, 0, 1, 0]
    assert found.loc["all"].astype(int).tolist() == [7, 3, 1, 1, 1, 5, 3]
    assert "written: " in editions.make(tmp_path, "small")
    page = (tmp_path / "small" / "editions.md").read_text()
    assert "Not run anew" not in page
    assert page.count("| gone") == page.count("| new") == 1


def test_a_workload_with_the_same_numbers_was_not_run_anew(tmp_path):
    same = [claim("a", "holds", workload="ResNet"), claim("b", "holds", workload="ResNet")]
    write(tmp_path / "small" / "first_edition", claim("a", "holds"), *same)
    write(tmp_path / "new" / "small", claim("a", "holds", ours="0.7"), *same)
    (tmp_path / "small" / "first_edition").rename(tmp_path / "new" / "small" / "first_edition")
    editions.make(tmp_path / "new", "small")
    page = (tmp_path / "new" / "small" / "editions.md").read_text()
    assert "Not run anew yet: ResNet." in page
    assert "| ResNet" not in page
    assert "| SSD" in page


def test_no_first_edition_is_said(tmp_path):
    assert not editions.has_results(tmp_path, "small")
    with pytest.raises(ResultsError, match="has no claims_figure"):
        editions.make(tmp_path, "small")
