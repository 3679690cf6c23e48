"""Brain pair: two brains as a registration sees them, prepared but not yet registered."""

from medapp.presenters.base import Presenter
from medapp.presenters.catalogue import get_layer_title
from medapp.rendering.layers import Layer
from medapp.result import Result


class BrainPairPresenter(Presenter):
    """A prepared pair; see `Presenter`."""

    title = "Brain pair"
    files = ("fixed_prepared", "moving_prepared", "labels", "moving_labels")
    image_role = "fixed_prepared"

    def layers(self, result: Result) -> dict[str, Layer]:
        """The fixed and the moving brain."""
        moving = result.volumes["moving_prepared"]
        return {
            get_layer_title("fixed_prepared"): Layer(self.image(result)),
            get_layer_title("moving_prepared"): Layer(moving, opacity=0.5),
        }

    def headline(self, result: Result) -> str:
        """What the affine transform does, and the overlap after it."""
        value = {name: metric.value for name, metric in result.metrics.items()}
        return (
            f"Prepared: the moving brain is rotated by {value['turn']:g}°, shifted by {value['shift']:g} mm and "
            f"{value['growth']:+g} % in volume against the fixed one; Dice {value['dice_before']:.2f} so far"
        )
