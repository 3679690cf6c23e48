"""A small bar chart as SVG text, for pages that stand alone and print well."""

from html import escape

import numpy as np

from medapp.rendering import colour

WIDTH, HEIGHT = 720, 240  # in the SVG's own units
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 26, 44  # margins
INK, FAINT, LINE = "#444", "#ddd", "#0072b2"


def draw_bars(
    x: np.ndarray, y: np.ndarray, across: str, up: str, *, title: str, reference: np.ndarray | None = None
) -> str:
    """Draw an <svg> of bars of height `y` (N,) at `x` (N,), ascending and evenly spaced; the reference as a line.

    `across` and `up` are the titles of the axes, `title` what a screen reader reads.
    """
    step = float(x[1] - x[0]) if len(x) > 1 else 1.0
    low, high = float(x[0]) - step / 2, float(x[-1]) + step / 2
    tallest = max(float(y.max()), float(reference.max()) if reference is not None else 0.0) or 1.0
    ticks = _choose_ticks(0.0, tallest)
    top = max(ticks[-1], tallest)

    def at(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def height(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks:
        parts.append(_draw_box(LEFT, height(tick), WIDTH - LEFT - RIGHT, 1, FAINT))
        parts.append(_draw_text(LEFT - 6, height(tick) + 4, f"{tick:g}", "end"))
    half = (at(step) - at(0)) * 0.45
    fill = colour.to_css(colour.get_label_colour(1))
    for centre, value in zip(x, y, strict=True):
        if value > 0:
            parts.append(_draw_box(at(centre) - half, height(value), 2 * half, HEIGHT - BOTTOM - height(value), fill))
    if reference is not None:
        edges = [(at(c + side * step / 2), height(v)) for c, v in zip(x, reference, strict=True) for side in (-1, 1)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in edges)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{LINE}" stroke-width="2"/>')
        parts += [_draw_box(LEFT, 6, 10, 10, fill), _draw_text(LEFT + 15, 15, "result", "start")]
        parts += [_draw_box(LEFT + 76, 10, 14, 2, LINE), _draw_text(LEFT + 95, 15, "reference", "start")]
    base = HEIGHT - BOTTOM
    parts.append(_draw_box(LEFT, base, WIDTH - LEFT - RIGHT, 1, INK))
    parts += [
        _draw_text(at(tick), base + 16, f"{tick:g}", "middle")
        for tick in _choose_ticks(low, high)
        if low <= tick <= high
    ]
    parts.append(_draw_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "middle"))
    parts.append(f'<g transform="translate(14 {(TOP + base) / 2}) rotate(-90)">{_draw_text(0, 0, up, "middle")}</g>')
    label = escape(title, quote=True)
    inside = f"<title>{label}</title>" + "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{inside}</svg>'


def _draw_box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def _draw_text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="12" fill="{INK}">{escape(text)}</text>'


def _choose_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from below `low` to `high`."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= 6)
    return [round(float(t), 10) for t in np.arange(np.ceil(low / step) * step, high + step * 1e-6, step)]
