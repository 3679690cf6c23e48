"""A mask that a user gives in place of the automatic one, for example corrected in another program."""

from collections.abc import Mapping

from medapp.analysis.hand_correction import decide_all
from medapp.analysis.reference import binarize_soft_mask
from medapp.card import Card
from medapp.errors import OptionError
from medapp.imaging.volume import Volume
from medapp.presenters import get_presenter
from medapp.presenters.mask_reference import check_mask_reference
from medapp.result import Result

MASK_HELP = "a mask corrected by hand, which is measured in place of the automatic one"


def require_mask_role(card: Card) -> None:
    """Raise OptionError for a method whose results hold no mask that can be corrected, or compared with others."""
    if not get_presenter(card).mask_role:
        raise OptionError(f"The results of {card.name} hold no mask that can be corrected or compared with others.")


def check_given_mask(mask: Volume, volumes: Mapping[str, Volume | None]) -> Volume:
    """Return the mask, of fractions from 0 to 1 those of 0.5 or more; raise InputError unless it lies on the image.

    `volumes` are the inputs of the method, by name.
    """
    mask = binarize_soft_mask(mask)
    check_mask_reference(mask, volumes, noun="mask")
    return mask


def lay_given_mask(card: Card, result: Result, mask: Volume) -> Result:
    """Return the result with the mask, and all that is measured of it, in place of the automatic one."""
    presenter = get_presenter(card)
    return presenter.correct(result, decide_all(mask, result.volumes[presenter.mask_role]), None)
