"""A search on a Slurm cluster: jobs of one GPU each, whose workers train the trials of a figure.

    pip install dask-jobqueue
    python -m experiments.examples.slurm &                                # on a login node, in the checkout
    python -m experiments.figure3 --scale=paper --scheduler=cluster.json

Set what your cluster calls its queue and its GPUs below. Slurm sends SIGTERM two minutes before a job's time is up, or
when it takes the node away: the trial saves itself, a new job is queued, and goes on with it. The scheduler listens on
the network: see docs/security.md.
"""

import sys
import time
from pathlib import Path

from dask_jobqueue.slurm import SLURMCluster

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


if __name__ == "__main__":
    with cluster(jobs=8):
        while True:
            time.sleep(60)
