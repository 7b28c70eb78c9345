"""The result as a table, as JSON and as a plot."""
import json
from xml.sax.saxutils import escape

from speed import MIB, WORKLOADS, middle

COLOURS = {"coppice": "#2e7d32", "qsd-null-co": "#9e9e9e", "nbdkit-file": "#1565c0", "qemu-nbd-raw": "#ef6c00",
           "qemu-nbd-qcow2": "#6a1b9a", "libaio O_DIRECT": "#455a64"}


def show(rate, measure):
    return f"{rate / 1000:.1f}K" if measure == "iops" else f"{rate / MIB:.0f} MiB/s"


def table(results, goals):
    names = list(next(iter(results.values()))) if results else []
    lines = []
    if results:
        lines.append(f"{'workload':24}" + "".join(f"{name:>16}" for name in names))
        for workload, row in results.items():
            measure = WORKLOADS.get(workload, (0, 0, 0, 0, "iops"))[4]
            cells = {name: show(middle(samples, measure), measure) for name, samples in row.items()}
            shown = [cells.pop(name, "-") for name in names]
            extra = "".join(f"  {name}: {cell}" for name, cell in cells.items())
            lines.append(f"{workload:24}" + "".join(f"{cell:>16}" for cell in shown) + extra)
        lines.append("")
    lines.append(f"{'goal':58}{'measured':>10}  {'wanted':>9}  verdict")
    for entry in goals:
        sign, distance = (">=", entry["goal"] - entry["measured"]) if entry["at_least"] else \
            ("<=", entry["measured"] - entry["goal"])
        verdict = "met" if entry["met"] else f"MISSED by {distance:.2f}"
        lines.append(f"{entry['what']:58}{entry['measured']:10.3f}  {sign} {entry['goal']:6.2f}  {verdict}")
    met = sum(entry["met"] for entry in goals)
    lines.append(f"{met} of {len(goals)} goals met")
    return "\n".join(lines)


def as_json(machine, options, results, goals):
    return json.dumps({
        "machine": machine,
        "options": {key: value for key, value in vars(options).items() if key not in ("bin", "out", "folder")},
        "results": {workload: {name: [sample.as_json() for sample in samples] for name, samples in row.items()}
                    for workload, row in results.items()},
        "goals": goals}, indent=1) + "\n"


def svg(results, machine):
    """Bars, one group a workload, each scaled to the fastest of its group."""
    bar, gap, left, width, top = 16, 26, 190, 900, 60
    span = width - left - 130
    height = top + sum(len(row) * bar + gap for row in results.values()) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
             '<text x="10" y="24" font-size="16">NBD over a Unix socket, fio; longer is better (medians)</text>',
             f'<text x="10" y="44" fill="#666">{escape(machine)}</text>']
    y = top
    for workload, row in results.items():
        measure = WORKLOADS.get(workload, (0, 0, 0, 0, "iops"))[4]
        rates = {name: middle(samples, measure) for name, samples in row.items()}
        parts.append(f'<text x="10" y="{y + 12}" font-weight="bold">{escape(workload)}</text>')
        for name, rate in rates.items():
            length = span * rate / max(rates.values())
            parts.append(f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{bar - 3}" '
                         f'fill="{COLOURS.get(name, "#000")}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 13}" font-size="11">{escape(name)} '
                         f'{show(rate, measure)}</text>')
            y += bar
        y += gap
    return "\n".join([*parts, "</svg>", ""])
