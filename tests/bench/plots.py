"""The picture of how a full installation grows with the image."""

from tests.svg import GREEN, TOP, WIDTH, draw_head


def plot_growth(points: list[tuple[float, float]]) -> str:
    """Return a line of seconds over GiB, as an SVG document."""
    width, height = WIDTH - 120, 260
    right, top = max(x for x, _ in points), max(y for _, y in points)
    places = [(60 + width * x / right, TOP + height - height * y / top) for x, y in points]
    rows = [draw_head("full installation: wall seconds over the image's GiB", TOP + height + 50)]
    rows.append(f'<path d="M60 {TOP} V{TOP + height} H{60 + width}" fill="none" stroke="#444"/>')
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    rows.append(f'<polyline points="{line}" fill="none" stroke="{GREEN}" stroke-width="2"/>')
    for (x, y), (size, seconds) in zip(places, points, strict=True):
        rows.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{GREEN}"/>')
        rows.append(f'<text x="{x + 6:.1f}" y="{y - 8:.1f}">{seconds:.1f} s</text>')
        rows.append(f'<text x="{x:.1f}" y="{TOP + height + 18}" text-anchor="middle">{size:g}</text>')
    return "\n".join([*rows, "</svg>", ""])
