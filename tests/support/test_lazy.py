"""Tests of names that are imported when they are first asked for."""

import sys
from types import ModuleType

import pytest

from lzu_export.support.lazy import lazily


@pytest.fixture
def module(monkeypatch):
    module = ModuleType("some_package")
    module.__getattr__ = lazily("some_package", {"sqrt": "math", "absent": "math"})
    monkeypatch.setitem(sys.modules, "some_package", module)
    return module


def test_a_name_is_imported_once_and_then_the_modules_own(module):
    assert "sqrt" not in vars(module)
    assert module.sqrt(9.0) == 3.0
    assert vars(module)["sqrt"] is sys.modules["math"].sqrt


def test_an_unknown_name_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match="module 'some_package' has no attribute 'cube'"):
        _ = module.cube
    assert not hasattr(module, "cube")


def test_a_name_that_its_place_lacks_is_an_attribute_error_too(module):
    with pytest.raises(AttributeError, match="absent"):
        _ = module.absent


def test_a_former_name_warns_and_gives_today_s(monkeypatch):
    module = ModuleType("some_package")
    module.__getattr__ = lazily("some_package", {"sqrt": "math"}, {"root": "sqrt"})
    monkeypatch.setitem(sys.modules, "some_package", module)
    with pytest.warns(DeprecationWarning, match="some_package.root is some_package.sqrt now"):
        assert module.root is module.sqrt
