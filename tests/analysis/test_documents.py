import pytest

from analysis import documents
from experiments.protocol import tables
from experiments.protocol.study import ResultsError

TEXTS = {path: path.read_text(encoding="utf-8") for path in documents.DOCUMENTS}
README = next(iter(TEXTS))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_results(path):
    assert documents.filled(path, TEXTS[path], tables.RESULTS) == TEXTS[path]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_a_number_that_was_edited_by_hand_is_made_anew(path):
    edited = TEXTS[path].replace("| 0.684 |", "| 0.500 |")
    assert edited != TEXTS[path]
    assert documents.filled(path, edited, tables.RESULTS) == TEXTS[path]


@pytest.mark.parametrize("damaged", [TEXTS[README].replace("<!-- table: figure 6 -->", ""), TEXTS[README] * 2])
def test_a_table_without_one_place_is_named(damaged):
    with pytest.raises(ResultsError, match=r"README[.]md must have `<!-- table: "):
        documents.filled(README, damaged, tables.RESULTS)
