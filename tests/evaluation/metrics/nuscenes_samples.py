"""Random samples of nuScenes' objects, and their evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation
from lzu_export.evaluation.metrics.nuscenes_objects import NUSCENES, ego_objects

NAMES = [rule.name for rule in NUSCENES]
"""Names of nuScenes' classes by their labels."""


def random_samples(
    seed: int, sequences: int = 3, classes: int = len(NUSCENES), unsure: bool = False
) -> list[dict[str, Any]]:
    """Samples with truth, near misses, duplicates and false positives; some classes are rare.

    With `unsure` scores are of few values, so that many are equal.
    """
    random = np.random.default_rng(seed)
    samples = []
    for number in range(2 * sequences):
        n = int(random.integers(0, 25))
        truth = np.column_stack(
            [
                random.uniform(-45, 45, (n, 2)),
                random.normal(0, 1, n),
                random.uniform(0.5, 5, (n, 3)),
                random.uniform(-7, 7, n),
                random.normal(0, 2, (n, 2)),
            ]
        )
        truth[random.random(n) < 0.1, 7:] = np.nan
        labels = (random.random(n) ** 2 * classes).astype(int)
        chosen = np.flatnonzero(random.random(n) < 0.8)
        chosen = np.concatenate([chosen, random.permutation(chosen)[: len(chosen) // 3]])
        found = np.nan_to_num(truth[chosen])
        found[:, :2] += random.normal(0, 0.9, (len(chosen), 2))
        found[:, 3:6] *= random.uniform(0.7, 1.4, (len(chosen), 3))
        found[:, 6:] += random.normal(0, 0.5, (len(chosen), 3))
        wrong = random.random(len(chosen)) < 0.1
        scores = random.uniform(0.05, 1, len(chosen))
        samples.append(
            {
                "sample_id": f"s{number}",
                "sequence_id": number // 2,
                "truth": ego_objects(truth, labels, random.integers(-1, 3, n)),
                "found": ego_objects(
                    found,
                    np.where(wrong, 0, labels[chosen]),
                    random.integers(-1, 3, len(chosen)),
                ),
                "scores": np.ceil(scores * 4) / 4 if unsure else scores,
            }
        )
    return samples


def evaluation_of(samples: Sequence[Mapping[str, Any]], **options: Any) -> NuScenesEvaluation:
    """Evaluation of the samples by nuScenes' rules; `options` are those of its class."""
    evaluation = NuScenesEvaluation(NUSCENES, **options)
    for each in samples:
        evaluation.add(**each)
    return evaluation
