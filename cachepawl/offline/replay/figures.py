"""Plotly figures as plain dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Trace = dict[str, Any]
Figure = dict[str, Any]

COLORS = (
    "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951",
    "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0",
)  # fmt: skip


def line(name: str, x: Sequence[float], y: Sequence[float], **more: Any) -> Trace:
    """A line through points."""
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), **more}


def layers(x: Sequence[float], ys: Mapping[str, Sequence[float]]) -> list[Trace]:
    """Areas on top of each other, the first at the bottom; none that is 0 all along."""
    return [
        line(name, x, y, stackgroup="one", line={"width": 0.5, "color": COLORS[i % len(COLORS)]})
        for i, (name, y) in enumerate(ys.items())
        if any(y)
    ]


def figure(traces: Sequence[Trace], x_title: str, y_title: str, **layout: Any) -> Figure:
    """Traces with titles on the axes."""
    base = {
        "xaxis": {"title": {"text": x_title}},
        "yaxis": {"title": {"text": y_title}, "rangemode": "tozero"},
        "hovermode": "x unified",
        "legend": {"traceorder": "reversed"},
    }
    return {"data": list(traces), "layout": base | layout}


def switched(choices: Mapping[str, Sequence[Trace]], x_title: str, y_title: str) -> Figure:
    """One set of traces at a time, chosen from a menu; no menu for one choice."""
    traces: list[Trace] = []
    owner: list[str] = []
    for i, (name, some) in enumerate(choices.items()):
        traces += [{**trace, "visible": i == 0} for trace in some]
        owner += [name] * len(some)
    if len(choices) == 1:
        return figure(traces, x_title, y_title)
    buttons = [
        {"label": name, "method": "restyle", "args": ["visible", [name == o for o in owner]]}
        for name in choices
    ]
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.15, "yanchor": "top"}
    return figure(traces, x_title, y_title, updatemenus=[menu])
