"""The command line that all figures share: run, --plan, --status."""

import argparse
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import timings, workloads
from experiments.protocol import stopping, store
from experiments.protocol.experiment import Experiment
from experiments.protocol.progress import Progress
from experiments.protocol.study import ConfigError, EngineError, LogLine, ResultsError, Stopped, Study
from pipelines import command_line, interrupts, service


class Parser(command_line.Parser):
    """Of a command that may change settings of a workload."""

    def parse_with_overrides(self, argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, str]]:
        """The flags, and what --config.KEY=VALUE changes of a workload's configuration, as typed, by key."""
        self.epilog = "--config.KEY=VALUE changes one setting of the workload, e.g. --config.batch_size=64"
        flags, rest = self.parse_known_args(argv)
        overrides = {}
        for argument in rest:
            key, equals, value = argument.partition("=")
            if not (key.startswith("--config.") and equals):
                self.error(f"unknown argument {argument}")
            overrides[key.removeprefix("--config.")] = value
        return flags, overrides


def main(experiment: Experiment, argv: list[str] | None = None) -> int:
    """Runs one figure's command and returns its exit code; what goes wrong is said in one line.

    Args:
      experiment: the figure.
      argv: arguments, `sys.argv` if None.
    """
    panels, studies = experiment.panels, experiment.studies
    logging.basicConfig(format="%(message)s")
    flags, overrides = _parse(experiment.description, panels, argv)

    def work() -> None:
        selected = [panels[panel] for panel in flags.panel] if flags.panel else list(panels.values())
        configs = [workloads.load(workload, flags.scale, overrides) for workload in selected]
        wanted = [study for config in configs for study in studies(config, bound=flags.bound == "on")]
        if flags.plan:
            sizes = {config.workload: config.batch_size for config in configs}
            records = timings.read(flags.timing) if flags.timing else []
            print(plan(wanted, flags.seconds_per_update, sizes, flags.accelerators, records))
        elif flags.status:
            print(status(wanted, flags.runs))
        else:
            _run(wanted, flags)

    return exit_code(work, stopped="stopped; finished trials are kept, the same command goes on from here")


def exit_code(work: Callable[[], None], stopped: str = "stopped") -> int:
    """Does a command's work and returns its exit code; what goes wrong, or `stopped`, is said in one line."""
    try:
        with stopping.on_sigterm(stopping.raise_stopped):
            work()
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except Stopped:
        print(stopped, file=sys.stderr)
        return 143
    except (ConfigError, EngineError, ResultsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        interrupts.at_the_end()
    return 0


def _parse(
    description: str | None, panels: Mapping[str, str], argv: list[str] | None
) -> tuple[argparse.Namespace, dict[str, str]]:
    parser = Parser(description)
    parser.add_argument("--scale", choices=workloads.SCALES, required=True)
    named = ", ".join(f"{panel} {workload}" for panel, workload in panels.items())
    parser.add_argument("--panel", choices=sorted(panels), action="append", help=f"only {named}; may be repeated")
    parser.add_argument("--plan", action="store_true", help="print what would run, and stop")
    parser.add_argument("--status", action="store_true", help="print what has run, and stop")
    parser.add_argument("--bound", choices=("on", "off"), default="on", help="off: train every trial to its budget")
    parser.add_argument("--workers", type=positive, help="local worker processes (default: one a core; paper: 1)")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="a Dask cluster to use instead, e.g. tcp://host:8786, or the file its scheduler wrote; "
        "its workers: python -m experiments.worker",
    )
    parser.add_argument("--engine", choices=("dask", "inline"), default="dask", help="inline: train in this process")
    parser.add_argument(
        "--distributed",
        metavar="WHERE",
        help="with --engine=inline, of several processes that train each trial together: auto, where JAX finds them; "
        "else ADDRESS:PORT,COUNT,NUMBER of the first, of all, of this one",
    )
    add_data_service(parser)
    parser.add_argument(
        "--checkpoint-seconds",
        type=positive_float,
        default=600.0,
        metavar="SECONDS",
        help="how often a trial saves itself while it trains; default 600",
    )
    parser.add_argument("--runs", type=folder, default=Path("runs"), help="folder of the raw runs")
    parser.add_argument(
        "--timing", type=Path, metavar="FILE", help="for --plan: what `python -m benchmarks.accelerator` wrote"
    )
    parser.add_argument(
        "--seconds-per-update",
        type=positive_float,
        metavar="SECONDS",
        help="for --plan: of an update at the workload's own batch size, in proportion at others; default: measured",
    )
    parser.add_argument(
        "--accelerators", type=positive, default=1, help="for --plan: how many a trial takes; default 1"
    )
    flags, overrides = parser.parse_with_overrides(argv)
    if flags.plan and flags.status:
        parser.error("--plan and --status are two questions; give one")
    if flags.status and not flags.runs.is_dir():
        parser.error(f"nothing has run in {flags.runs}: it is not there; --runs names another folder")
    if flags.engine == "inline" and (flags.scheduler or flags.workers):
        parser.error("--engine=inline trains in this process; leave out --scheduler and --workers")
    if flags.distributed and flags.engine != "inline":
        parser.error("--distributed needs --engine=inline: all its processes train the same trial")
    if flags.data_service and flags.scheduler:
        parser.error("--data-service is a flag of the scheduler's workers, python -m experiments.worker")
    return flags, overrides


def add_data_service(parser: Parser) -> None:
    """The flag of commands whose processes train."""
    parser.add_argument(
        "--data-service",
        type=services,
        metavar="HOST:PORT[,HOST:PORT...]",
        help="machines that run the stages before the echo point, each `python -m pipelines.service`; with several, "
        "--config.input_parts is at least as many",
    )


def services(text: str) -> str:
    """A flag's value, input services separated by commas."""
    for name in text.split(","):
        try:
            service.address(name)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return text


def folder(text: str) -> Path:
    """A flag's value, a folder that is there or can be made."""
    path = Path(text)
    for part in (path, *path.parents):
        if part.is_dir():
            return path
        if part.exists() or part.is_symlink():
            raise argparse.ArgumentTypeError(f"must be a folder, but {part} is a file")
    return path


def file(text: str) -> Path:
    """A flag's value, a file that is there or can be made."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file, but {path} is a folder")
    return folder(str(path.parent)) / path.name


def positive(text: str) -> int:
    """A flag's value, a whole number above 0."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def natural(text: str) -> int:
    """A flag's value, a whole number, 0 or above."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or above, got {text!r}")
    return int(text)


def positive_float(text: str) -> float:
    """A flag's value, a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def share_below_one(text: str) -> float:
    """A flag's value, 0 or above and below 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be 0 or above and below 1, got {text!r}")
    return value


def plan(
    studies: Sequence[Study],
    seconds_per_update: float | None,
    own_batch_sizes: Mapping[str, int],
    accelerators: int,
    records: Sequence[timings.Record] = (),
) -> str:
    """What the studies would run, as a table, infeasible trials and the bound left out.

    Args:
      studies: what would run.
      seconds_per_update: of an update at a workload's own batch size, in proportion at others; None for what was
        measured, or each study's configuration says.
      own_batch_sizes: of each workload.
      accelerators: how many a trial takes, where they were not measured.
      records: what was measured, as `timings.read` gives it.

    Raises:
      ConfigError: seconds of an update are given for several workloads.
    """
    if seconds_per_update and len(own_batch_sizes) > 1:
        raise ConfigError("--seconds-per-update is of one workload; choose one with --panel")
    rows: list[tuple[Any, ...]] = []
    memory = []
    for study in studies:
        trials = study.searches * study.trials
        updates = trials * study.budget_steps
        given = seconds_per_update and seconds_per_update * study.batch_size / own_batch_sizes[study.workload]
        cost = timings.cost(study, records)
        seconds = given or (cost and cost.seconds_per_update) or study.config["seconds_per_update"] or math.nan
        hours = updates * seconds * (cost.devices if cost and not given else accelerators) / 3600
        rows.append((f"{study.workload} {study.setting}", trials, updates, study.fresh_examples(updates), hours))
        memory.append(cost)
    rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    width = max(len(str(row[0])) for row in rows)
    devices = f" {'GB on 1, 8, 32 devices':>24} {'R':>7}" if records else ""
    lines = [f"{'study':{width}} {'trials':>7} {'updates':>14} {'fresh examples':>17} {'hours':>9}{devices}"]
    for (name, *numbers, row_hours), cost in zip(rows, [*memory, None], strict=True):
        words = "unknown" if math.isnan(row_hours) else f"{row_hours:,.1f}"
        lines.append(f"{name:{width}} " + "{:7,} {:14,} {:17,.0f} {:>9}".format(*numbers, words) + _measured(cost))
    lines.append(
        "Trials: feasible ones, each trained to its budget; infeasible ones come on top, those that are stopped early "
        "take less. Hours: of one accelerator, or of one core where there is none. What figures share is run once."
    )
    if records:
        kinds = " and ".join(sorted({f"{cost.devices} x {cost.kind}" for cost in memory if cost}))
        lines.append(
            f"Hours and memory by what was measured on {kinds or 'other programs'}, evaluations included, "
            "input that keeps up assumed; ~ in proportion to another batch size. Memory is a device's: all of the "
            "parameters, its part of the batch. R: what the input alone takes for a batch over what an update takes, "
            "where `benchmarks.accelerator --input` timed it; above 1 hours grow by it, and echoing with e up to R "
            "takes them back."
        )
    if math.isnan(rows[-1][-1]):
        lines.append(
            "Unknown hours: no update of this size has been timed here; `python -m benchmarks.accelerator` on your "
            "accelerator writes a file for --timing, or give --seconds-per-update, which "
            f"`python -m experiments.advise --workload={studies[0].workload} --scale={studies[0].scale}` measures."
        )
    return "\n".join(lines)


def _measured(cost: timings.Cost | None) -> str:
    if cost is None:
        return ""
    each = ", ".join(f"{cost.bytes_per_device(devices) / 1e9:.1f}" for devices in (1, 8, 32))
    r = "unknown" if cost.r is None else f"{cost.r:.2g}"
    return f" {('' if cost.measured else '~') + each:>24} {r:>7}"


def status(studies: Sequence[Study], root: Path) -> str:
    """What has run, a line a study, and how the trials fare that are running."""
    width = max(len(f"{study.workload} {study.setting}") for study in studies)
    lines = [f"{'study':{width}} {'complete':>9} {'bounded':>8} {'infeasible':>11} {'wanted':>7}   best"]
    for study in studies:
        progress = Progress([study], root)
        counts = progress.counts
        lines.append(
            f"{study.workload + ' ' + study.setting:{width}} {counts['complete']:9} {counts['bounded']:8} "
            f"{counts['infeasible']:11} {progress.open:7}   {progress.best_in_words(0)}"
        )
    for study in studies:
        for search, index, folder in store.running(root, study):
            line = folder.last_logged()
            lines.append(
                f"running: {study.workload} {study.setting}, search {search}, trial {index}"
                + (f": {_in_words(line, study.budget_steps)}" if line else ", not logged yet")
            )
    return "\n".join(lines)


def _in_words(line: LogLine, budget_steps: int) -> str:
    return (
        f"update {line.sgd_steps:,} of at most {budget_steps:,}, loss {line.loss:.4g}, "
        f"{line.examples_per_second:,.0f} examples/s, {line.seconds_left / 3600:,.2f} h left to its budget"
    )


def _run(studies: Sequence[Study], flags: argparse.Namespace) -> None:
    from experiments.protocol import engine

    service.use(flags.data_service)
    engine.run(
        studies,
        root=flags.runs,
        engine=flags.engine,
        workers=flags.workers,
        scheduler=flags.scheduler,
        checkpoint_seconds=flags.checkpoint_seconds,
        distributed=flags.distributed,
    )
    if flags.distributed:
        from experiments.protocol import hosts

        if not hosts.leads():
            return
    print(status(studies, flags.runs))
    print(f"next: python -m experiments.collect --scale={flags.scale} --runs={flags.runs}")
