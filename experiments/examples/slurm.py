"""A search on a Slurm cluster: jobs of one GPU each, whose workers train the trials of a figure.

    pip install dask-jobqueue
    python -m experiments.examples.slurm --jobs=8 &                       # on a login node, in the checkout
    python -m experiments.figure3 --scale=paper --scheduler=cluster.json

Slurm sends SIGTERM two minutes before a job's time is up, or when it takes the node away: the trial saves itself, a new
job is queued, and goes on with it. The scheduler listens on the network: see docs/security.md.
"""

import shutil
import sys
import time
from pathlib import Path

from dask_jobqueue.slurm import SLURMCluster

from experiments.command_line import Parser, exit_code, positive
from experiments.protocol.study import EngineError

CHECKOUT = Path(__file__).parents[2]
SCHEDULER_FILE = CHECKOUT / "cluster.json"


def cluster(jobs: int, queue: str = "gpu", gpu: str = "--gres=gpu:1", hours: int = 24) -> SLURMCluster:
    """A scheduler in this process, whose address is in cluster.json, and so many jobs with a worker each, kept up."""
    found = SLURMCluster(
        queue=queue,
        cores=1,
        job_cpu=8,
        memory="64GB",
        walltime=f"{hours}:00:00",
        job_extra_directives=[gpu, "--signal=TERM@120"],
        job_script_prologue=[f"cd {CHECKOUT}"],
        python=f"srun {sys.executable}",
        worker_command="experiments.worker --scale=paper",
        scheduler_options={"scheduler_file": str(SCHEDULER_FILE), "dashboard_address": "127.0.0.1:0"},
    )
    found.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
    return found


def main(argv: list[str] | None = None) -> int:
    """Keeps the jobs up until it is stopped; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("--jobs", type=positive, required=True, help="how many, each of one GPU")
    parser.add_argument("--queue", default="gpu", help="what the cluster calls it; default gpu")
    parser.add_argument("--gpu", default="--gres=gpu:1", help="how sbatch is asked for a GPU; default --gres=gpu:1")
    parser.add_argument("--hours", type=positive, default=24, help="of a job; default 24")
    flags = parser.parse_args(argv)

    def work() -> None:
        if shutil.which("sbatch") is None:
            raise EngineError("there is no sbatch here; run this where jobs are submitted, such as a login node")
        with cluster(flags.jobs, flags.queue, flags.gpu, flags.hours):
            while True:
                time.sleep(60)

    return exit_code(work, stopped="stopped; what was trained is kept")


if __name__ == "__main__":
    sys.exit(main())
