"""What the figures and the workloads are, as plug-ins: the types that their modules fill in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ml_collections import ConfigDict

from experiments.protocol.study import Study


class MakeStudies(Protocol):
    """Makes the studies of one panel from a workload's configuration."""

    def __call__(self, config: ConfigDict, *, bound: bool = True) -> list[Study]:
        """With `bound`, trials that cannot win any more are stopped."""


@dataclass(frozen=True)
class Workload:
    """A model on a data source, as the plots name it.

    `config` makes its configuration at a scale; its `data.source` and `model.name` say which source and model, either
    one of `pipelines.sources.registry` and `models.tasks` or, as `package.module:function`, any other. `panels` has
    the letter of its panel in each figure that shows it, two letters if it fills two.
    """

    title: str
    config: Callable[[str], ConfigDict]
    panels: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One figure of the paper: which workload each panel is of, and the studies of one.

    `description` is what --help shows.
    """

    number: int
    description: str | None
    panels: Mapping[str, str]
    studies: MakeStudies

    @property
    def command(self) -> str:
        """Runs it; a scale has to follow."""
        return f"python -m experiments.figure{self.number}"
