"""Tests of keys that had another name in an earlier release."""

import pytest

from lzu_export.support.former_keys import with_todays_keys

FORMER = {"colour": "color", "sizes.breadth": "sizes.width"}


def test_former_keys_are_renamed_at_their_place():
    data = {"sizes": {"breadth": 3, "colour": 1}, "colour": "red", "breadth": 4}
    todays = {"sizes": {"width": 3, "colour": 1}, "color": "red", "breadth": 4}
    assert with_todays_keys(data, FORMER) == todays
    assert list(with_todays_keys(data, FORMER)) == ["sizes", "color", "breadth"]
    assert data["colour"] == "red", "what was given is not changed"


@pytest.mark.parametrize("data", [None, 3, [], {"sizes": 3}, {"sizes": None}, {"width": 2}])
def test_other_data_stay_as_they_are(data):
    assert with_todays_keys(data, FORMER) == data


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"colour": 1, "color": 1}, "colour is the former name of color"),
        ({"sizes": {"width": 1, "breadth": 2}}, "breadth is the former name of width"),
    ],
)
def test_both_names_at_once_are_refused(data, names):
    with pytest.raises(ValueError, match=f"{names}, and both are given; leave one out"):
        with_todays_keys(data, FORMER)
