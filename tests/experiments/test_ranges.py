"""Settings are read by their type and checked; nothing that is typed ends in a traceback."""

import math
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import workloads
from experiments.protocol import ranges
from experiments.protocol.study import ConfigError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))


def load(setting, name="resnet50_imagenet", scale="small"):
    key, _, text = setting.partition("=")
    value = workloads.load(name, scale, {key: text})
    for part in key.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data.data_dir=2017", "2017"),
        ("data.data_dir=null", "null"),
        ("data.data_dir=[1]", "[1]"),
        ("model.stages=(1,1)", (1, 1)),
        ("model.stages=[2, 3]", (2, 3)),
        ("model.stages=2", (2,)),
        ("model.ghost_batch_size=null", None),
        ("model.ghost_batch_size=8", 8),
        ("seconds_per_update=null", None),
        ("seconds_per_update=2", 2.0),
        ("figure4_updates=100", 100),
        ("nesterov=False", False),
        ("nesterov=true", True),
        ("target=1", 1.0),
        ("target=-1e-3", -1e-3),
        ("batch_size=1e2", 100),
        ("data.padding=0", 0),
    ],
)
def test_values_are_read_by_the_settings_type(setting, value):
    name = "resnet32_cifar10" if "padding" in setting else "resnet50_imagenet"
    read = load(setting, name)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "setting",
    [
        *[
            f"batch_size={text}"
            for text in ("null", "true", "1.5", "0", "-3", "nan", "inf", "1e20", "1e400", "(1,)", "")
        ],
        *[f"target={text}" for text in ("NaN", "inf", "null", "true", "high", "[0.5]")],
        *[f"trials={text}" for text in (10**20, "0", "3.5", "9" * 5000)],
        *[f"nesterov={text}" for text in ("1", "yes", "null", "")],
        *[f"data.corrupt={text}" for text in ("maybe", "", "1")],
        *[f"data.smallest_area={text}" for text in ("0", "1.1", "-0.1", "nan")],
        *[f"model.stages={text}" for text in ("()", "(1, 0)", "(1, 1.5)", "text", "(1,", "(" * 500, "None")],
        *[f"model.dtype={text}" for text in ("float64", "16")],
        *[f"end_factor={text}" for text in ("2", "-1")],
        *[f"search_space.learning_rate.low={text}" for text in ("nan", "-1", "5", "null")],
        "search_space.learning_rate.high=inf",
        "budget_fresh_examples.baseline=-1",
        "seconds_per_update=0",
        "shuffle_buffer=-1",
    ],
)
def test_nonsense_names_the_key_and_what_is_allowed(setting):
    with pytest.raises(ConfigError) as refused:
        load(setting)
    key = setting.partition("=")[0]
    assert key in str(refused.value) or key.rpartition(".")[0] in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 300


@pytest.mark.parametrize("name", workloads.WORKLOADS)
@pytest.mark.parametrize("scale", workloads.SCALES)
def test_every_default_is_in_its_range(name, scale):
    workloads.check(workloads.WORKLOADS[name].config(scale))


def test_every_range_is_of_a_setting():
    keys = {
        key
        for workload in workloads.WORKLOADS.values()
        for scale in workloads.SCALES
        for key in workloads._keys(workload.config(scale))
    }
    assert set(ranges.RANGES) <= keys


KEYS = sorted(workloads._keys(workloads.WORKLOADS["resnet50_imagenet"].config("small")))
NUMBERS = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers(), max_size=3))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(key=st.sampled_from(KEYS) | st.text(max_size=20), text=st.text(max_size=30) | NUMBERS.map(str))
def test_whatever_is_typed_is_taken_or_refused_in_one_line(key, text):
    try:
        config = workloads.load("resnet50_imagenet", "small", {key: text})
    except ConfigError as refused:
        assert refused.args[0]
        return
    workloads.check(config)
    value = config
    for part in key.split("."):
        value = value[part]
    assert value is None or not isinstance(value, float) or math.isfinite(value)
