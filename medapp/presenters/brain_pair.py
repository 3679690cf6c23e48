"""Brain pair: two brains as a registration sees them, prepared but not yet registered."""

from medapp.imaging.brain_labels import region_colours
from medapp.presenters.base import Presenter
from medapp.presenters.catalogue import get_layer_title
from medapp.rendering.layers import Layer
from medapp.rendering.view import View, lay_out_columns
from medapp.result import Result

FIXED, MOVING = get_layer_title("fixed_prepared"), get_layer_title("moving_prepared")


class BrainPairPresenter(Presenter):
    """A prepared pair; see `Presenter`."""

    title = "Brain pair"
    files = ("fixed_prepared", "moving_prepared", "labels", "moving_labels")
    image_role = "fixed_prepared"

    def layers(self, result: Result) -> dict[str, Layer]:
        """The fixed and the moving brain, and the regions of the fixed one."""
        layers = {
            FIXED: Layer(self.image(result)),
            MOVING: Layer(result.volumes["moving_prepared"], opacity=0.5),
        }
        if "labels" in result.volumes:
            regions = result.volumes["labels"]
            tints = region_colours(regions.labels)
            layers[get_layer_title("labels")] = Layer(regions, "mask", colours=tints, opacity=0.0, contour=1)
        return layers

    def view(self, result: Result) -> View:
        """Both brains on either side of a line, or beside each other."""
        tiles = lay_out_columns([("Fixed", FIXED, None), ("Moving", MOVING, None)])
        layers = self.layers(result)
        return View(layers, compared=MOVING, comparison="swipe", arrangements={"Side by side": tiles})

    def headline(self, result: Result) -> str:
        """What the affine transform does, and the overlap after it."""
        value = {name: metric.value for name, metric in result.metrics.items()}
        return (
            f"Prepared: the moving brain is rotated by {value['turn']:g}°, shifted by {value['shift']:g} mm and "
            f"{value['growth']:+g} % in volume against the fixed one; Dice {value['dice_before']:.2f} so far"
        )
