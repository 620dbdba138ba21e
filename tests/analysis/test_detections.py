import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import detections
from experiments import detections as recording
from experiments.protocol.study import ResultsError


def recorded(images):
    png = io.BytesIO()
    Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(png, format="png")
    row = {
        "image": png.getvalue(),
        "boxes": [[0.0, 0.25, 0.5, 0.75]],
        "labels": [3],
        "found_boxes": [[0.0, 0.25, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]],
        "scores": [0.9, 0.1],
        "found_labels": [3, 4],
    }
    return pd.DataFrame([row] * images)


def test_true_boxes_and_likely_ones_are_drawn_in_pixels(tmp_path):
    (tmp_path / "small").mkdir()
    recorded(2).to_parquet(tmp_path / "small" / "detections.parquet")
    figure = detections.draw(pd.read_parquet(tmp_path / "small" / "detections.parquet"))
    boxes = [(patch.get_xy(), patch.get_width(), patch.get_height()) for patch in figure.axes[0].patches]
    assert boxes == [((4, 0), 8, 4), ((4, 0), 4, 4)]
    assert [text.get_text() for text in figure.axes[0].texts] == ["3: 0.9"]
    assert "drawn" in detections.make(tmp_path, "small")
    assert (tmp_path / "small" / "detections.png").stat().st_size > 1000


@pytest.mark.parametrize("momentum", ["nan", "1", "-0.1", "inf", "much"])
def test_a_momentum_that_is_none_is_refused(momentum, capsys):
    with pytest.raises(SystemExit, match="2"):
        recording.main(["--scale=small", f"--momentum={momentum}"])
    assert "argument --momentum: must be 0 or above and below 1" in capsys.readouterr().err


def test_what_was_not_recorded_says_what_to_run(tmp_path):
    with pytest.raises(ResultsError, match=r"python -m experiments.detections --scale=small"):
        detections.make(tmp_path, "small")
