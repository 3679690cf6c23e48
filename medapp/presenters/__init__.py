"""What each kind of result shows, by the name that a method's card gives."""

from medapp.card import Card
from medapp.presenters.base import Presenter
from medapp.presenters.brain_mask import BrainMaskPresenter
from medapp.presenters.brain_pair import BrainPairPresenter
from medapp.presenters.lesions import LesionPresenter
from medapp.presenters.ms_lesions import MsLesionPresenter
from medapp.presenters.parcellation import ParcellationPresenter
from medapp.presenters.region_map import RegionMapPresenter
from medapp.presenters.registration import RegistrationPresenter
from medapp.presenters.restoration import RestorationPresenter
from medapp.presenters.stroke import StrokePresenter

PRESENTERS: dict[str, Presenter] = {
    "brain_mask": BrainMaskPresenter(),
    "brain_pair": BrainPairPresenter(),
    "lesions": LesionPresenter(),
    "ms_lesions": MsLesionPresenter(),
    "parcellation": ParcellationPresenter(),
    "region_map": RegionMapPresenter(),
    "registration": RegistrationPresenter(),
    "restoration": RestorationPresenter(),
    "stroke": StrokePresenter(),
}


def get_presenter(card: Card) -> Presenter:
    """What shows the results of a method. Raises KeyError for a name that no presenter has."""
    return PRESENTERS[card.presenter]
