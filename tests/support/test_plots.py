"""Tests of how figures are drawn."""

import pytest

from lzu_export.errors import LzuError
from lzu_export.support import plots

mpl = pytest.importorskip("matplotlib", reason="figures need matplotlib")


def test_settings_hold_in_the_block_and_figures_are_closed():
    before = mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]
    with plots.plotting({"font.size": 23}) as plt:
        plt.figure()
        assert (mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]) == (23, False)
        assert mpl.get_backend().lower() == "agg"
    assert (mpl.rcParams["font.size"], mpl.rcParams["axes.spines.top"]) == before
    assert plt.get_fignums() == []


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    with pytest.raises(LzuError, match=r"by matplotlib; pip install 'lzu-export\[bench\]'"):
        plots.check_matplotlib()
