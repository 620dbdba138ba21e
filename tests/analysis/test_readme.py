import pytest

from analysis import readme
from experiments.protocol import tables
from experiments.protocol.study import ResultsError

TEXT = readme.README.read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_results():
    assert readme.filled(TEXT, tables.RESULTS) == TEXT


def test_a_number_that_was_edited_by_hand_is_made_anew():
    edited = TEXT.replace("0.684", "0.500")
    assert edited != TEXT
    assert readme.filled(edited, tables.RESULTS) == TEXT


@pytest.mark.parametrize("damaged", [TEXT.replace("<!-- table: figure 6 -->", ""), TEXT + TEXT])
def test_a_table_without_one_place_is_named(damaged):
    with pytest.raises(ResultsError, match="<!-- table: "):
        readme.filled(damaged, tables.RESULTS)
