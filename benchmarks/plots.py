"""Draws the plots as SVG. The same results give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from benchmarks.environments import NAMES
from benchmarks.results import Result, Rows

# Blue and vermilion of the Okabe-Ito palette, which is safe for colour-blind readers.
OURS, REFERENCE, OTHER, INK = "#0072B2", "#D55E00", "#B8BDC4", "#33373D"
_STYLE: dict[Any, Any] = {
    "backend": "svg",  # no display needed
    "svg.hashsalt": "prefactor-http",
    "svg.fonttype": "path",  # GitHub shows an SVG as an image, without web fonts
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "grid.color": "#E4E6EA",
    "axes.axisbelow": True,
}


def draw(found: Mapping[str, Result], folder: Path) -> Iterator[Path]:
    """Draw the plots whose results exist, and yield their files."""
    folder.mkdir(parents=True, exist_ok=True)
    for measure, name, plot in _PLOTS:
        if measure not in found:
            continue
        with mpl.rc_context(_STYLE):
            figure = plot(found[measure].rows)
            file = folder / f"{name}.svg"
            figure.savefig(file, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
            plt.close(figure)
        # Matplotlib writes trailing spaces, which some editors and hooks remove.
        lines = file.read_text(encoding="utf-8").splitlines()
        file.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
        yield file


def cost_per_call(rows: Rows) -> Figure:
    """Draw the CPU time of a register as one bar per contender."""
    case = {"call": "register", "concurrency": 16, "allocator": "settled"}
    mine = [row for row in rows if case.items() <= row.items()]
    mine.sort(key=lambda row: -row["cpu_us"]["median"])
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(mine) + 0.9))
    # httpx takes ten times as long. Its bar is cut and labelled.
    medians = [row["cpu_us"]["median"] for row in mine]
    end = 1.12 * max([each for each in medians if each < 500] or medians)
    for at, (row, median) in enumerate(zip(mine, medians, strict=True)):
        color = {"ours": OURS, "reference": REFERENCE}.get(row["contender"], OTHER)
        axes.barh(at, min(median, end), color=color, height=0.66)
        text = f"{median:,.0f} µs" + (" (bar cut)" if median > end else "")
        axes.annotate(text, (min(median, end), at), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(mine)), [NAMES[row["contender"]] for row in mine])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, end)
    axes.xaxis.set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title("CPU of one register, 16 in flight", x=0.0)
    return figure


def cost_when_batched(rows: Rows) -> Figure:
    """Draw the CPU time of a register by the number of callers."""
    mine = [row for row in rows if row["case"] == "loops"]
    colors = {"reference": REFERENCE, "ours": OTHER, "batched": OURS}
    present = [key for key in colors if key in {row["contender"] for row in mine}]
    groups = list(dict.fromkeys(row["callers"] for row in mine))
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    width = 0.8 / len(present)
    for row in mine:
        left = groups.index(row["callers"]) + width * present.index(row["contender"])
        median = row["cpu_us"]["median"]
        axes.bar(left, median, 0.92 * width, align="edge", color=colors[row["contender"]])
        axes.annotate(
            f"{median:,.0f}",
            (left + 0.46 * width, median),
            (0, 3),
            textcoords="offset points",
            ha="center",
        )
    axes.legend(
        handles=[Patch(color=colors[key], label=NAMES[key]) for key in present],
        frameon=False,
        ncols=len(present),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
    )
    axes.set_ylim(0, 1.12 * max(row["cpu_us"]["median"] for row in mine))
    axes.set_xticks([each + 0.4 for each in range(len(groups))], [_callers(n) for n in groups])
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.set_title("CPU of one awaited register, µs", x=0.0)
    return figure


def _callers(callers: int) -> str:
    return f"{callers} caller{'' if callers == 1 else 's'}"


SMALL = 0.5


def rows_per_second(rows: Rows) -> Figure:
    """Draw rows per second by the number of rows."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    reference = next((row for row in rows if row["contender"] == "reference"), None)
    many = [row for row in rows if row["contender"] == "ours" and row["kilobytes"] == SMALL]
    ends = [many[0]["rows"], many[-1]["rows"]]
    labels: list[tuple[float, str, str]] = []
    styles = {
        "random": ("o", "-", "register_many"),
        "derived": ("s", "--", "with keys derived from a job"),
    }
    for keys, (marker, line, name) in styles.items():
        mine = [row for row in many if row["keys"] == keys]
        y = [row["rows_per_second"]["median"] for row in mine]
        axes.plot([row["rows"] for row in mine], y, line, marker=marker, color=OURS)
        labels.append((y[-1], f"{name}: {y[-1]:,.0f}", OURS))
    if reference:
        same = reference["rows_per_second"]["median"]
        axes.plot(ends, [same, same], color=REFERENCE)
        name = f"{NAMES['reference']},\nbulk.execute: {same:,.0f}"
        labels.append((same, name, REFERENCE))
    axes.set_xscale("log")
    axes.set_ylim(0, 1.05 * max(row["rows_per_second"]["high"] for row in many))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y")
    axes.set_xlabel("number of rows")
    axes.set_title("Rows registered per second", x=0.0)
    _label_ends(axes, ends[1], labels)
    return figure


def doubled_writes(rows: Rows) -> Figure:
    """Draw doubled and wrongly reported writes by the fraction of faulty attempts."""
    panels = (
        ("doubled", "Registered twice"),
        ("wrongly_raised", "Reported as failed, but applied"),
    )
    figure, both = plt.subplots(1, 2, figsize=(8.6, 3.2), sharex=True)
    setting = rows[0]["setting"]
    for axes, (key, title) in zip(both, panels, strict=True):
        for contender, color in (("reference", REFERENCE), ("ours", OURS)):
            case = {"contender": contender, "setting": setting}
            mine = [row for row in rows if case.items() <= row.items()]
            x = [100 * row["rate"] for row in mine]
            y = [1000 * row[key] / row["lifecycles"] for row in mine]
            axes.plot(x, y, marker="o", color=color, clip_on=False, zorder=3)
            if y:
                above = contender == "ours"
                axes.annotate(
                    f"{NAMES[contender]}: {y[-1]:,.0f}",
                    (x[-1], y[-1]),
                    (0, 9) if above else (-10, 2),
                    textcoords="offset points",
                    ha="right",
                    va="bottom" if above else "center",
                    color=color,
                )
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_title(title, x=0.0)
        axes.set_xlabel("faulty attempts, %")
    both[0].set_ylabel("per 1,000 lifecycles")
    figure.tight_layout(w_pad=2.5)
    return figure


def lost_in_a_kill(rows: Rows) -> Figure:
    """Draw the share of accepted writes that were lost when the process was killed."""
    killed = [row for row in rows if row["case"] == "killed"]
    bars: list[tuple[str, str, float]] = []
    for contender in dict.fromkeys(row["contender"] for row in killed):
        for faults in dict.fromkeys(row["faults"] for row in killed):
            mine = [
                row for row in killed if (row["contender"], row["faults"]) == (contender, faults)
            ]
            lost, accepted = (sum(row[key] for row in mine) for key in ("lost", "accepted"))
            name = NAMES["core"] if contender == "core" else "outbox"
            name += f", {faults:.0%} faults"
            bars.append((name, contender, 100 * lost / max(1, accepted)))
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(bars) + 0.9))
    for at, (_, contender, percent) in enumerate(reversed(bars)):
        color = REFERENCE if contender == "core" else OURS
        axes.barh(at, percent, color=color, height=0.66)
        text = f"{percent:.0f}%" if percent else "none"
        axes.annotate(text, (percent, at), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), [name for name, _, _ in reversed(bars)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 100)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Accepted writes lost when the process is killed", x=0.0)
    return figure


def _label_ends(axes: Axes, x: float, labels: Sequence[tuple[float, str, str]]) -> None:
    """Label lines at their end without overlaps."""
    gap = 0.08 * axes.get_ylim()[1]
    lowest = 0.0
    for y, text, color in sorted(labels):
        at = max(y, lowest)
        axes.annotate(text, (x, at), (9, 0), textcoords="offset points", va="center", color=color)
        lowest = at + gap * (1 + text.count("\n"))


_PLOTS: tuple[tuple[str, str, Callable[[Any], Figure]], ...] = (
    ("calls", "cost-per-call", cost_per_call),
    ("register_many", "rows-per-second", rows_per_second),
    ("batching", "cost-when-batched", cost_when_batched),
    ("faults", "doubled-writes", doubled_writes),
    ("outbox", "lost-in-a-kill", lost_in_a_kill),
)
