"""The workloads, one module each with a `WORKLOAD`; a module that is added here is one more.

They are in the order of their panels in Figure 3.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.protocol import ranges, settings
from experiments.protocol.experiment import Workload
from experiments.protocol.study import ConfigError, Dimension, at_setting

SCALES = ("smoke", "small", "gpu", "paper")


def _found() -> dict[str, Workload]:
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = {name: importlib.import_module(f"{__name__}.{name}").WORKLOAD for name in names}
    return dict(sorted(found.items(), key=lambda item: (item[1].panels.get(3, "~"), item[0])))


WORKLOADS = _found()


def panels(figure: int) -> dict[str, str]:
    """The workload of each panel of a figure."""
    found = {workload.panels[figure]: name for name, workload in WORKLOADS.items() if figure in workload.panels}
    return dict(sorted(found.items()))


def echoing(name: str) -> list[str]:
    """The echoing variants of a workload, the one that echoes latest first."""
    return [variant for variant in WORKLOADS[name].config("small").budget_fresh_examples if variant != "baseline"]


def load(name: str, scale: str, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """A workload's checked configuration.

    Args:
      name: one of WORKLOADS.
      scale: one of SCALES.
      overrides: values as typed on a command line, by dotted key; they win over `config.at`.

    Raises:
      ConfigError: an unknown key, or a value of the wrong type or out of range; the message names the key.
    """
    config = WORKLOADS[name].config(scale)
    _place(config, name, scale)
    config.lock()
    for key, text in (overrides or {}).items():
        _override(config, name, key, text)
    check(config)
    for key in config.get("at", {}):
        check(at_setting(config, key))
    return config


def _place(config: ConfigDict, name: str, scale: str) -> None:
    """Has each setting the search space that was placed for it."""
    changes: dict[str, Any] = {}
    for row in settings.placed(scale):
        if row["workload"] == name:
            space = changes.setdefault(row["setting"], {}).setdefault("search_space", {})
            space[row["dimension"]] = {"low": float(row["low"]), "high": float(row["high"])}
    if changes:
        config.update({"at": changes})


def check(config: ConfigDict) -> None:
    """Raises ConfigError, naming the key, if a setting is out of range."""
    for key in _keys(config):
        if key.split(".")[0] not in ("at", "search_space"):
            value = _group(config, key)[key.rpartition(".")[2]]
            ranges.of(key, value).check(key, value)
    for name, dimension in config.search_space.items():
        Dimension(name, **dimension)


def _override(config: ConfigDict, name: str, key: str, text: str) -> None:
    """Sets one key to what was typed, also where `config.at` has a value of its own for it.

    Raises:
      ConfigError: there is no such key, or it takes values of another type.
    """
    if key in ("workload", "scale"):
        raise ConfigError(f"config.{key} cannot be changed; --{'panel' if key == 'workload' else 'scale'} chooses it")
    keys = _keys(config)
    if key not in keys:
        near = difflib.get_close_matches(key, keys, 1)
        known = ", ".join(sorted(k for k in keys if not k.startswith("at.")))
        raise ConfigError(
            f"unknown config key {key} of {name}; " + (f"did you mean {near[0]}?" if near else f"it has {known}")
        )
    old = _group(config, key)[key.rpartition(".")[2]]
    config.update_from_flattened_dict({key: ranges.of(key, old).parse(key, text)})
    for change in config.get("at", {}).values():
        if key in _keys(change):
            with change.unlocked():
                del _group(change, key)[key.rpartition(".")[2]]


def _group(config: ConfigDict, key: str) -> ConfigDict:
    """The part of a configuration that holds a dotted key."""
    for part in key.split(".")[:-1]:
        config = config[part]
    return config


def _keys(config: ConfigDict, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in config.items():
        keys += _keys(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else [prefix + key]
    return keys
