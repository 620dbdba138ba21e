"""Transformer on Common Crawl: LM1B's model, batch size and search space; data, budget and target differ.

Paper scale. From the paper: target cross-entropy 3.9 nats a subword (Table 1), run lengths three times LM1B's, the
shuffle buffer and the evaluation interval of LM1B. Not printed there, so our choice, besides those of
`transformer_lm1b`: C4 without its cleaning as the prepared form of the crawl (the WET files themselves are
`--config.data.dataset=wet`, see `pipelines/crawl.py`), a line of a page an example, five million pages, of which
no run reads all.

Small scale: bytes of public-domain pages in windows of 32.

Smoke scale: the same path in seconds; its target is low and its numbers mean nothing.
"""

from ml_collections import ConfigDict

from experiments.workloads import transformer_lm1b


def config(scale: str) -> ConfigDict:
    """The workload's settings at `scale`: LM1B's, but for those set here."""
    c = transformer_lm1b.config(scale)
    c.workload = "transformer_common_crawl"
    {"paper": _paper, "small": _small, "smoke": _smoke}[scale](c)
    return c


def _paper(c: ConfigDict) -> None:
    c.data.update({"source": "common_crawl", "dataset": "c4/en.noclean", "train_pages": 5_000_000})
    c.target = 3.9
    c.budget_fresh_examples = {"baseline": 60_000 * 1024, "batch": 45_000 * 1024, "example": 30_000 * 1024}


def _small(c: ConfigDict) -> None:
    c.data.source = "public_domain"
    c.target = 2.30
    c.eval_every_steps = 30
    c.budget_fresh_examples = {"baseline": 38_400, "batch": 38_400, "example": 38_400}


def _smoke(c: ConfigDict) -> None:
    c.data.source = "public_domain"
