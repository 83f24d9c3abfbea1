"""The chart of docs/performance.md from `results.json`: for each segment, how long every engine takes.

python bench/chart.py [results.json] [chart.svg]
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
COLOURS = ("#1b9e77", "#66c2a5", "#7570b3", "#d95f02", "#e6ab02", "#999999")


def main(source: Path = HERE / "results.json", target: Path = HERE / "chart.svg") -> None:
    results = json.loads(Path(source).read_text())
    queries = results["bitseg"]["queries"]
    series = {
        "bitseg, warm": {name: query["warm"]["p50_ms"] for name, query in queries.items()},
        "bitseg, cold": {name: query["cold"]["p50_ms"] for name, query in queries.items()},
    } | {
        peer: {name: query["p50_ms"] for name, query in found["queries"].items()}
        for peer, found in results["peers"].items()
    }
    names = list(queries)[::-1]
    figure, axes = plt.subplots(figsize=(9, 8))
    height = 0.8 / len(series)
    for place, ((title, times), colour) in enumerate(zip(series.items(), COLOURS, strict=False)):
        rows = [
            (row - 0.4 + height * (len(series) - 1 - place), times[name])
            for row, name in enumerate(names)
            if name in times
        ]
        axes.barh([row for row, _ in rows], [time for _, time in rows], height, label=title, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.set_xlabel("median milliseconds, logarithmic")
    axes.set_title(f"{results['users']:,} users, {results['events']:,} events, {results['machine']['date']}")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.08), ncols=3, frameon=False)
    figure.savefig(target, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
