"""Two results beside each other: one laid over the other if both are of one image or one grid, and their measures."""

from collections.abc import Mapping
from dataclasses import replace

from medapp.imaging.volume import Volume, digest_volume
from medapp.presenters.base import Presenter
from medapp.presenters.catalogue import get_title
from medapp.rendering.layers import Layer
from medapp.rendering.view import View
from medapp.result import Metric, Result, Table

APART = "The two results are of different images on different grids: their pictures are not laid over each other."
BESIDE = "beside"  # the kind of a view with another result's
OTHER_IMAGE = "The two results are of different images on one grid; whether these are of one person is not known."


def find_common_ground(first: Volume, second: Volume) -> tuple[bool, str]:
    """Tell whether results of two images can be laid over each other, and what is to be said of it, or ""."""
    if digest_volume(first) == digest_volume(second):
        return True, ""
    return (True, OTHER_IMAGE) if first.grid.is_same(second.grid) else (False, APART)


def can_be_rated(first: Presenter, second: Presenter) -> bool:
    """Whether the masks of two results are of the same thing, so that they are compared as those of two raters."""
    return bool(first.mask_role) and first.mask_role == second.mask_role


def lay_over(view: View, result: Result, presenter: Presenter, title: str) -> View:
    """Return the view with what another result is about as a further layer, named by `title`.

    An image is compared with the view's by a line that can be moved; a mask or a label map is not shown at first.
    """
    volume = result.volumes.get(presenter.main_role)
    if volume is None:
        return view
    if volume.labels:
        layers = {**view.layers, title: Layer(volume, "mask", opacity=0.0, contour=1)}
        return replace(view, layers=layers, kind=BESIDE)
    bottom = next(iter(view.layers.values()))
    layers = {**view.layers, title: Layer(volume, window=bottom.window, opacity=0.0)}
    return replace(view, layers=layers, compared=title, comparison="swipe", kind=BESIDE)


def list_measures(first: Result, second: Result, titles: tuple[str, str]) -> Table:
    """Return the metrics of two results side by side, those of either; `titles` name the results."""
    keys = dict.fromkeys((*first.metrics, *second.metrics))
    rows = ((get_title(key), *(format_metric(result.metrics, key) for result in (first, second))) for key in keys)
    return Table(("", *titles), tuple(rows))


def format_metric(metrics: Mapping[str, Metric], key: str) -> str:
    """Return a metric with its unit as text; "" where it is not among the metrics."""
    if key not in metrics:
        return ""
    value, unit = metrics[key]
    return "not defined" if value is None else f"{value:.6g} {unit}".rstrip()
