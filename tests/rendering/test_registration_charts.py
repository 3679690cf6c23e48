"""Charts of a registration against a made-up deformation and table."""

import numpy as np

from medapp.rendering import registration_charts
from medapp.result import Table


def test_bars_leave_out_what_is_not_defined_and_say_what_is_missing():
    columns = ("region", "Dice before", "Dice after")
    table = Table(columns, (("Left-Thalamus", 0.5, 0.8), ("Left-Vessel", None, None)))
    figure = registration_charts.plot_before_after(table, "Dice")
    assert [list(bar.y) for bar in figure.data] == [["Left-Thalamus"]] * 2
    for nothing in (None, Table(("region",), ()), Table(columns, (("Left-Vessel", None, None),))):
        assert (
            registration_charts.plot_before_after(nothing, "Dice").layout.annotations[0].text
            == registration_charts.NO_LABEL_MAPS
        )


def test_the_volume_change_is_orange_where_larger_and_says_how_much_folds():
    figure = registration_charts.plot_volume_change(np.linspace(-0.5, 0.5, 1000), 1.25)
    colours = np.array(figure.data[0].marker.color)
    assert len(set(colours[np.array(figure.data[0].x) > 0])) == 1 and len(set(colours)) == 2
    assert "1.25 %" in figure.layout.xaxis.title.text
