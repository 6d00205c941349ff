"""Draws a dashboard from its queries' answers, for machines without Grafana."""

import math


def draw(name, panels, directory):
    """Writes `directory/name.png`: the panels in their order, three beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import LogNorm

    columns = 3
    rows = math.ceil(len(panels) / columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(18, 3.2 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (panel, answers) in zip(axes.flat, panels):
        axis.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults'].get('unit', '')})", fontsize=9)
        axis.tick_params(labelsize=7)
        if panel["type"] == "heatmap":
            buckets = sorted(answers[0][1]["result"], key=lambda s: float(s["metric"]["le"]))
            grid = [[float(v) for _, v in series["values"]] for series in buckets]
            # Prometheus' buckets hold all below them; a band is the difference.
            bands = [[max(a - b, 0) for a, b in zip(row, below)] for row, below in zip(grid, [[0] * len(grid[0]), *grid])]
            axis.imshow(bands, aspect="auto", origin="lower", norm=LogNorm(0.1, max(max(map(max, bands)), 1)))
            axis.set_yticks(range(len(buckets)), [s["metric"]["le"] for s in buckets], fontsize=6)
            continue
        for legend, data in answers:
            for series in data["result"]:
                label = legend
                for key, value in series["metric"].items():
                    label = label.replace("{{" + key + "}}", value)
                points = [(float(t), float(v)) for t, v in series["values"]]
                axis.plot([t - points[-1][0] for t, _ in points], [v for _, v in points], label=label, linewidth=1)
        top = axis.get_ylim()[1]
        axis.set_ylim(-0.02 * top, top)
        axis.legend(fontsize=6, loc="upper left")
    figure.suptitle(f"{name}: seconds before the end")
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.png"
    figure.savefig(path, dpi=70)
    pyplot.close(figure)
    return path
