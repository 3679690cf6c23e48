"""Kept scan: the upload that a result was made of, and the methods that it fits besides."""

from medapp.card import Card
from medapp.imaging.volume import Volume
from medapp.presenters.task import TASKS
from medapp.serving import runtime
from medapp.serving.input_fit import Level, judge_input
from medapp.ui.form import Form
from medapp.ui.own_files import uploaded_paths
from medapp.ui.scan_offer import main_box
from medapp.ui.session import Session
from medapp.ui.tab import Volumes


def remember_scan(session: Session, form: Form, data: dict, volumes: Volumes) -> None:
    """Note with a result the visitor's files of the form's first image, if they are their own, and what they fit."""
    sources = [source.name for source in form.card.inputs if not source.optional]
    paths, image = uploaded_paths(data[main_box(form)]), form.card.name_inputs(volumes)[sources[0]]
    if paths and image is not None:
        session.files, session.fits = tuple(paths), list_fitting_methods(form.card, image)


def list_fitting_methods(card: Card, image: Volume) -> tuple[str, ...]:
    """Return the names of the methods other than the card's whose first image the scan may be."""
    others = (other for other in runtime.load_cards().values() if other.task in TASKS and other.name != card.name)
    return tuple(other.name for other in others if _is_fit(other, image))


def _is_fit(card: Card, image: Volume) -> bool:
    source = next(source for source in card.inputs if not source.optional)
    if image.is_colour and not source.colour:
        return False
    return judge_input(source, image).level in (Level.FITS, Level.UNSURE)
