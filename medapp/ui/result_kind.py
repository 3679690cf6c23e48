"""Result kind: what shows a result."""

from medapp.presenters import get_presenter
from medapp.presenters.base import Presenter
from medapp.result import Result
from medapp.serving import runtime


def presenter_of(result: Result) -> Presenter:
    """What shows a result of `runtime.run`."""
    return get_presenter(runtime.find_card_of(result))
