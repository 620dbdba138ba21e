"""Transformer on LM1B: next-token prediction, target cross-entropy 3.9 nats a subword (Table 1 of the paper).

Paper scale. From the paper: target, batch size, shuffle buffer, evaluation interval, run lengths, 5 searches of 100
feasible trials, Nesterov momentum at a constant rate. Not printed there, so our choice: model size (the base
Transformer's), no dropout, learned positions, attention without biases, normalisation in front of each part, logits
computed in bfloat16, vocabulary, sequence length, validation sentences, search space, the loss at which a trial counts
as diverged.

Small scale: bytes of the Brown corpus in windows of 32, a model of 63,936 parameters. Calibrated on the baseline alone,
then frozen, but for one search space (see below): coarse searches found the region of good rates (0.07 to 0.38) and
momenta (0.86 to 0.95), the budget of 25,600 windows bounds a trial to about 15 s on a core, and the target of 2.36 nats
a byte is slightly worse than what the best baseline trials reach within it (2.26 to 2.30). Five searches of 12 feasible
trials then gave the baseline a mean of 19,200 windows, 17,280 to 21,120 (a spread of 20 %, as in the paper). That is
9.6 tokens a parameter at the target, as we estimate for the paper, and a shuffle buffer of 6 % of the windows read, as
there. Given up: the paper's baseline reads about half an epoch, this one 0.11 of its corpus; both meet every example at
most once.

Other batch sizes have search spaces of the same width, moved to where a coarse look at their baseline found good
points: at batch 2 rates of 0.03 to 0.1, which need 9,900 to 11,200 windows; at 8 rates of 0.05 to 0.2, 11,500 to 13,400
windows; at 128 rates of 0.2 to 0.35, 62,700 to 65,300 windows. Budgets are about a third above that, and half of it for
e of 3 and more (in the paper: of 4 and more); evaluations are about a thirtieth of what a study is expected to need.

One study's space was moved after its own search, since the winners lay at its edges: example echoing at batch 8 with
e = 16. Over the rates and momenta of the other factors it needed a mean of 3,504 windows, with all winners at the high
end of momentum; with higher momenta 2,464, with winners at the low end of the rates; at a third of those rates, as it
is now, 2,272. All three spaces are equally wide. Each move favours e = 16, and e = 8 stayed ahead of it (1,904).

Figure 5 takes batches of 8 and 32: at 128 the baseline already takes hardly fewer updates than at 32, each of four
times the time, which is further beyond the useful batch size than the paper's 4096 is.

GPU scale: LM1B itself with a model of 4 layers, 256 wide, for one GPU and a day. A batch of 256 and a buffer of as many
batches as the paper's; rates two decades wide. Target and budgets are estimates, not calibrated: nobody has run it. The
time of an update is computed, not measured: 2.2 TFLOP at 40 % of an H100's bfloat16 peak.

Smoke scale: the same path in seconds; its target is low and its numbers mean nothing.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference

from experiments.protocol import settings
from experiments.protocol.experiment import Workload


def config(scale: str) -> ConfigDict:
    """The workload's settings at `scale`."""
    scales = {"paper": _paper, "gpu": _gpu, "small": _small, "smoke": _smoke}
    return settings.make("transformer_lm1b", scale, scales, metric="cross_entropy", goal="min")


def _paper(c: ConfigDict) -> None:
    length, vocab_size = FieldReference(128), FieldReference(32_000)
    c.data = {
        "source": "lm1b",
        "data_dir": "~/tensorflow_datasets",
        "length": length,
        "vocab_size": vocab_size,
        "validation_examples": 10_240,
    }
    c.model = _model(vocab_size, length, width=512, layers=6, heads=8, hidden=2048, dtype="bfloat16")
    c.target = 3.9
    c.batch_size = 1024
    c.shuffle_buffer = 1_000_000
    c.eval_every_steps = 500
    c.eval_batch_size = 1024
    c.budget_fresh_examples = settings.budgets(baseline=20_000 * 1024, batch=20_000 * 1024, example=10_000 * 1024)
    c.fixed_budget = {"fresh_examples": 20_000 * 1024, "trials": 100}
    c.search_space = settings.space(learning_rate=(1e-3, 10.0), momentum=(0.5, 0.999))
    c.trials = 100
    c.seconds_per_update = None  # not timed: depends on the accelerator
    c.batch_sizes = {"figure5": (1024, 4096), "figure6": (64, 256, 1024, 4096)}
    budgets = {
        "b64": settings.budgets(baseline=160_000 * 64, batch=160_000 * 64, example=80_000 * 64),
        "b256": settings.budgets(baseline=40_000 * 256, batch=40_000 * 256, example=20_000 * 256),
        "b4096": settings.budgets(baseline=15_000 * 4096, batch=15_000 * 4096, example=7_500 * 4096),
        "e4-b1024": {"example": 7_500 * 1024},
        "e4-b4096": {"example": 5_625 * 4096},
        "e8-b4096": {"example": 3_750 * 4096},
        "e16-b4096": {"example": 37_500 * 256},
        "s100000": {"example": 20_000 * 1024},
    }
    c.at = {setting: {"budget_fresh_examples": budget} for setting, budget in budgets.items()}


def _gpu(c: ConfigDict) -> None:
    length, vocab_size = FieldReference(128), FieldReference(32_000)
    c.data = {
        "source": "lm1b",
        "data_dir": "~/tensorflow_datasets",
        "length": length,
        "vocab_size": vocab_size,
        "validation_examples": 4_096,
    }
    c.model = _model(vocab_size, length, width=256, layers=4, heads=4, hidden=1024, dtype="bfloat16")
    c.target = 4.6
    c.batch_size = 256
    c.shuffle_buffer = 250_000
    c.eval_every_steps = 500
    c.eval_batch_size = 1024
    c.budget_fresh_examples = settings.budgets(baseline=20_000 * 256, batch=20_000 * 256, example=10_000 * 256)
    c.fixed_budget = {"fresh_examples": 20_000 * 256, "trials": 20}
    c.search_space = settings.space(learning_rate=(0.02, 2.0), momentum=(0.8, 0.99))
    c.trials = 20
    c.seconds_per_update = 0.0055  # computed, see above
    c.batch_sizes = {"figure5": (256, 1024), "figure6": (16, 64, 256, 1024)}
    budgets = {
        "b16": settings.budgets(baseline=160_000 * 16, batch=160_000 * 16, example=80_000 * 16),
        "b64": settings.budgets(baseline=40_000 * 64, batch=40_000 * 64, example=20_000 * 64),
        "b1024": settings.budgets(baseline=15_000 * 1024, batch=15_000 * 1024, example=7_500 * 1024),
    }
    c.at = {setting: {"budget_fresh_examples": budget} for setting, budget in budgets.items()}


def _small(c: ConfigDict) -> None:
    length, vocab_size = FieldReference(32), FieldReference(128)
    c.data = {"source": "brown", "length": length, "validation_examples": 512}
    c.model = _model(vocab_size, length, width=48, layers=2, heads=2, hidden=192, dtype="float32")
    c.target = 2.36
    c.batch_size = 32
    c.shuffle_buffer = 1200
    c.eval_every_steps = 20
    c.eval_batch_size = 512
    c.budget_fresh_examples = settings.budgets(baseline=25_600, batch=25_600, example=25_600)
    c.fixed_budget = {"fresh_examples": 25_600, "trials": 8}
    c.search_space = settings.space(learning_rate=(0.04, 0.5), momentum=(0.8, 0.98))
    c.trials = 12
    c.seconds_per_update = 0.025  # of the committed trials, evaluation included, two side by side on two 2.4 GHz cores
    c.batch_sizes = {"figure5": (8, 32), "figure6": (2, 8, 32, 128)}
    c.at = {
        "b2": {
            "budget_fresh_examples": settings.budgets(baseline=12_800, batch=12_800, example=12_800),
            "search_space": settings.space(learning_rate=(0.01, 0.125), momentum=(0.8, 0.98)),
            "eval_every_steps": 160,
            "trials": 8,
            "seconds_per_update": 0.003,
        },
        "b8": {
            "budget_fresh_examples": settings.budgets(baseline=16_000, batch=16_000, example=16_000),
            "search_space": settings.space(learning_rate=(0.03, 0.375), momentum=(0.8, 0.98)),
            "eval_every_steps": 40,
            "trials": 8,
            "seconds_per_update": 0.006,
        },
        "b128": {
            "budget_fresh_examples": settings.budgets(baseline=89_600, batch=89_600, example=89_600),
            "search_space": settings.space(learning_rate=(0.06, 0.75), momentum=(0.8, 0.98)),
            "eval_every_steps": 15,
            "trials": 8,
            "seconds_per_update": 0.076,
        },
        "e4-b8": {"budget_fresh_examples": {"example": 8_000}},
        "e8-b8": {"budget_fresh_examples": {"example": 8_000}, "eval_every_steps": 80},
        "e16-b8": {
            "budget_fresh_examples": {"example": 8_000},
            "search_space": settings.space(learning_rate=(0.006, 0.075), momentum=(0.9, 0.99)),
            "eval_every_steps": 160,
        },
        "e3-b32": {"budget_fresh_examples": {"example": 12_800}},
        "e4-b32": {"budget_fresh_examples": {"example": 12_800}},
        "e5-b32": {"budget_fresh_examples": {"example": 12_800}},
        "e6-b32": {"budget_fresh_examples": {"example": 12_800}},
        "e8-b32": {"budget_fresh_examples": {"example": 12_800}, "eval_every_steps": 40, "trials": 8},
        "e16-b32": {"budget_fresh_examples": {"example": 12_800}, "eval_every_steps": 80, "trials": 8},
        "r10": {"trials": 8},
        "r100": {"trials": 8},
        "s120": {"trials": 8},
        "s12000": {"trials": 8},
    }


def _smoke(c: ConfigDict) -> None:
    _small(c)
    c.model.update({"width": 16, "layers": 1, "hidden": 32})
    c.data.validation_examples = 128
    c.target = 3.1
    c.shuffle_buffer = 100
    c.eval_every_steps = 5
    c.budget_fresh_examples = settings.budgets(baseline=3_200, batch=3_200, example=3_200)
    c.fixed_budget = {"fresh_examples": 3_200, "trials": 3}
    c.searches = 2
    c.trials = 3
    c.seconds_per_update = 0.004
    c.batch_sizes = {"figure5": (8, 32), "figure6": (2, 8, 32, 128)}
    c.at = {
        "b2": {
            "budget_fresh_examples": settings.budgets(baseline=800, batch=800, example=800),
            "eval_every_steps": 20,
        },
        "b8": {"budget_fresh_examples": settings.budgets(baseline=1_600, batch=1_600, example=1_600)},
        "e4": {"budget_fresh_examples": {"example": 1_600}},
        "e8": {"budget_fresh_examples": {"example": 800}},
        "e16": {"budget_fresh_examples": {"example": 400}},
    }


def _model(
    vocab_size: FieldReference, length: FieldReference, width: int, layers: int, heads: int, hidden: int, dtype: str
) -> dict[str, Any]:
    return {
        "name": "transformer",
        "vocab_size": vocab_size,
        "length": length,
        "width": width,
        "layers": layers,
        "heads": heads,
        "hidden": hidden,
        "tied_embedding": True,
        "dtype": dtype,
    }


WORKLOAD = Workload("Transformer on LM1B", config, {3: "a", 4: "a", 5: "ab", 6: "a", 7: "ab", 8: "a"})
