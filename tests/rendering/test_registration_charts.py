"""Charts of a registration against a made-up deformation and table."""

import numpy as np
from tilted_box import cut, shifted

from medapp.rendering import registration_charts
from medapp.result import Table


def test_arrows_go_from_fixed_to_moving():
    onto, grey = cut()
    figure = registration_charts.plot_arrows(grey, onto, shifted(-3, 0, 0))
    line = figure.data[-1]
    assert "3.0" in line.name
    inside = np.abs(np.array(line.x[1::3]) - np.array(line.x[0::3])) > 0
    x = np.array(line.x, float).reshape(-1, 3)[inside]
    np.testing.assert_allclose(x[:, 1] - x[:, 0], 6, atol=1e-3)
    assert registration_charts.plot_arrows(grey * 0, onto, shifted(0, 0, 0)).data == ()


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
