"""View state: how a visitor looks at a result, as a browser tells it, and takes it up again."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from medapp.errors import InputError
from medapp.limits import MAX_ORIGIN_MM
from medapp.ui.gradio_compat import GradioModel

MALFORMED_STATE_MESSAGE = "It does not say in a form that is known here how the picture was shown."
MAX_NAME_LENGTH = 120  # characters
MAX_HIDDEN = 300  # regions

Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(max_length=MAX_NAME_LENGTH)]
Millimetres = Annotated[float, Field(gt=-MAX_ORIGIN_MM, lt=MAX_ORIGIN_MM)]


class ViewState(GradioModel):
    """What the visitor has set on the stage; None is as the scene begins.

    `mm` (3,) is the crosshair, RAS+; `window` its black and white, in the image's unit. `pan` (4,) are mm and the zoom
    of the slices, `turn` (2,) azimuth and elevation of the 3-D view in degrees, `near` its zoom. `hidden` are the
    regions that are switched off. `compared` is an image and `way` how it is compared, with the `line` between the two;
    `t` is the share of the deformation, `map` the map over the image. `networks` is what is shown of several networks.
    """

    model_config = ConfigDict(allow_inf_nan=False)  # Gradio describes no model that forbids other fields

    mm: Annotated[list[Millimetres], Field(min_length=3, max_length=3)] | None = None
    layout: Name | None = None
    window: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    pan: Annotated[list[Number], Field(min_length=4, max_length=4)] | None = None
    turn: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    near: Annotated[float, Field(ge=0.1, le=10)] | None = None
    hidden: Annotated[list[Name], Field(max_length=MAX_HIDDEN)] | None = None
    style: Name | None = None
    opacity: Share | None = None
    networks: Name | None = None
    compared: Name | None = None
    way: Name | None = None
    line: Share | None = None
    t: Share | None = None
    grid: bool | None = None
    arrows: bool | None = None
    map: Name | None = None
    map_opacity: Share | None = None
    cross: bool | None = None
    cut: bool | None = None


def parse_view_state(sent: Any) -> ViewState:
    """Return the state that a browser or a file has sent, as a dict. Raises InputError for anything else."""
    try:
        if not set(sent) <= set(ViewState.model_fields):
            raise InputError(MALFORMED_STATE_MESSAGE)
        return ViewState.model_validate(sent)
    except (TypeError, ValidationError) as error:
        raise InputError(MALFORMED_STATE_MESSAGE) from error
