"""A plot is a picture of its numbers; without matplotlib there is a warning and the numbers stay."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from sharedllm_cli.errors import UsageError
from sharedllm_cli.lab import plots
from sharedllm_cli.lab.plots import Panel, Series
from sharedllm_cli.progress import Silent

PNG = b"\x89PNG\r\n\x1a\n"
GRID: list[list[float | None]] = [[0.0, 0.5], [1.0, None]]


def grid(**changes: Any) -> bytes:
    words: dict[str, Any] = {
        "rows": ["0 %", "100 %"],
        "columns": ["2,048", "8,192"],
        "row_title": "depth",
        "column_title": "tokens",
        "title": "needle",
        "measure": "answered",
    }
    return plots.heat_map(changes.pop("values", GRID), **(words | changes))


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are written from here on."""
    seen: list[Any] = []
    original = plots._png
    monkeypatch.setattr(plots, "_png", lambda figure: (seen.append(figure), original(figure))[1])
    return seen


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)


def test_every_cell_holds_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch)
    assert grid().startswith(PNG)
    axes = seen[0].axes[0]
    cells = {tuple(round(place) for place in text.get_position()): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "0.00", (1, 0): "0.50", (0, 1): "1.00", (1, 1): "–"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0 %", "100 %"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("tokens", "depth")


def test_letters_are_light_on_dark_cells_and_dark_on_light_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch)
    grid(values=[[0.0, 1.0], [0.1, 0.9]])
    assert [text.get_color() for text in seen[0].axes[0].texts] == ["white", "black", "white", "black"]


@pytest.mark.parametrize(
    ("values", "changes", "ends"),
    [
        ([[1.0, 3.0], [2.0, None]], {}, (1, 3)),
        ([[1.0, 1.0], [1.0, 1.0]], {}, (0.5, 1.5)),
        ([[None, None], [None, None]], {}, (-0.5, 0.5)),
        ([[1.0, 3.0], [2.0, None]], {"bounds": (0, 10)}, (0, 10)),
        ([[-1.0, 3.0], [2.0, None]], {"centred": True}, (-3, 3)),
        ([[0.0, 0.0], [0.0, 0.0]], {"centred": True}, (-1, 1)),
    ],
)
def test_the_scale_reaches_over_all_values(
    values: Any, changes: dict[str, Any], ends: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = drawn(monkeypatch)
    grid(values=values, **changes)
    assert seen[0].axes[0].images[0].get_clim() == ends


def test_a_grid_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="2 rows of 2 columns"):
        grid(values=[[1.0, 2.0]])


def test_curves_hold_their_points_and_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch)
    loss = Panel("loss", [Series("right", [1, 2], [3, 2], [2.5, 1.5], [3.5, 2.5]), Series("wrong", [1, 2], [3, 3])])
    gates = Panel("gate", [Series("layer 0", [1, 2], [0, 0.5])], zero=True)
    assert plots.curves([loss, gates], x_title="step", title="run").startswith(PNG)
    first, second = seen[0].axes
    assert [list(line.get_ydata()) for line in first.lines] == [[3, 2], [3, 3]]
    assert len(first.collections) == 1, "a band for the series that has one"
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["right", "wrong"]
    assert second.get_legend() is None
    assert list(second.lines[0].get_ydata()) == [0, 0]
    assert (second.get_xlabel(), second.get_ylabel()) == ("step", "gate")


def test_a_logarithmic_axis_names_its_few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch)
    series = Series("ppl", [2048, 131072], [20, 18])
    plots.curves([Panel("perplexity", [series])], x_title="tokens", title="books", log_x=True)
    axes = seen[0].axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2,048", "131,072"]


def test_equal_numbers_give_equal_bytes() -> None:
    assert grid() == grid()


def test_a_plot_is_kept_for_its_user_alone(tmp_path: Path) -> None:
    assert plots.keep(tmp_path / "needle.png", grid, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["needle.png"]
    assert stat.S_IMODE((tmp_path / "needle.png").stat().st_mode) == 0o600


def test_nothing_is_touched_in_matplotlib_itself() -> None:
    sys.modules.pop("matplotlib.pyplot", None)
    grid()
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.usefixtures("absent")
def test_without_matplotlib_there_is_a_hint_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="matplotlib is not installed") as caught:
        grid()
    assert "pip install 'sharedllm-cli[eval]'" in str(caught.value.hint)
    reporter = Silent()
    assert not plots.keep(tmp_path / "needle.png", grid, reporter)
    assert list(tmp_path.iterdir()) == []
    assert "needle.png is not drawn" in reporter.warnings[0]
    assert "sharedllm-cli[eval]" in reporter.warnings[0]
