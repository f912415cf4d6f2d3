"""Matches of parts of a set, which are counted apart and merged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes_samples import random_samples

from lzu_export.errors import LzuError
from lzu_export.evaluation.metrics.nuscenes import NuScenesEvaluation
from lzu_export.evaluation.metrics.nuscenes_objects import NUSCENES


@settings(max_examples=8)
@given(st.lists(st.integers(0, 6), max_size=2).map(sorted))
def test_matches_of_a_sequence_in_two_parts_belong_to_one(cuts: list[int]) -> None:
    samples = random_samples(3, unsure=True)
    whole, merged = (NuScenesEvaluation(NUSCENES, keep=False) for _ in range(2))
    for each in samples:
        whole.add(**each)
    for start, stop in zip([0, *cuts], [*cuts, len(samples)], strict=True):
        part = NuScenesEvaluation(NUSCENES, keep=False)
        for each in samples[start:stop]:
            part.add(**each)
        merged.merge(part.state())
    assert merged.sequence_ids == whole.sequence_ids == [0, 1, 2]
    assert np.array_equal(merged.positives(), whole.positives())
    for times in ([1, 1, 1], [0, 2, 1]):
        assert repr(merged.resampled(times)) == repr(whole.resampled(times))


def test_a_sample_is_merged_once() -> None:
    whole, part = (NuScenesEvaluation(NUSCENES, keep=False) for _ in range(2))
    part.add(**random_samples(0)[0])
    whole.merge(part.state())
    with pytest.raises(LzuError, match="sample s0 was added before"):
        whole.merge(part.state())
