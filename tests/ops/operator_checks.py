"""Checks and random examples that the tests of several operators share."""

from collections.abc import Callable
from typing import Any

import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.defs import OpSchema

from samples import OPSET


def sizes(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    """Draw pairs (height, width) of integers from `low` to `high`."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


def on_random_examples(count: int, **strategies: Any) -> Callable[[Any], Any]:
    """Run a test `count` times with random arguments; each run gets a random `seed`, too."""

    def decorate(test: Any) -> Any:
        drawn = given(seed=st.integers(0, 2**31), **strategies)
        return settings(max_examples=count, deadline=None)(drawn(test))

    return decorate


def check_body(body: onnx.FunctionProto, schema: OpSchema) -> None:
    """Check that an operator's function body has its schema's name, values and attributes."""
    assert (body.domain, body.name) == (schema.domain, schema.name)
    assert list(body.input) == [each.name for each in schema.inputs]
    assert list(body.output) == [each.name for each in schema.outputs]
    assert set(body.attribute) == set(schema.attributes)
    assert {opset.version for opset in body.opset_import} == {OPSET}


def check_model(model: onnx.ModelProto, schema: OpSchema) -> None:
    """Check a model of one operator in full, and its only function body against the schema."""
    (body,) = model.functions
    check_body(body, schema)
    onnx.checker.check_model(model, full_check=True)
