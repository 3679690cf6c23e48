"""Compared sessions: another of a visitor's results put beside the one that is shown."""

from medapp.analysis.rater_agreement import list_raters
from medapp.imaging.volume import Volume
from medapp.presenters.beside import can_be_rated, find_common_ground, lay_over, list_measures
from medapp.rendering.view import View
from medapp.serving import runtime
from medapp.ui.result_cards import render_beside
from medapp.ui.result_kind import presenter_of
from medapp.ui.session import Session

SHOWN, OTHER = "Shown", "Other result"


def compare_sessions(shown: Session, other: Session) -> None:
    """Put a result beside the shown one: its mask is compared as that of another rater, its picture laid over it."""
    shown.beside, shown.beside_result = other, other.result
    rate_session(shown)
    shown.scene = None


def stop_comparing(shown: Session) -> None:
    """Take away the result that is beside the shown one."""
    shown.beside = shown.beside_result = None
    rate_session(shown)
    shown.scene = None


def follow_other(shown: Session) -> None:
    """Compare anew if the result beside the shown one has changed since, or is no longer kept."""
    if shown.beside is None:
        return
    if shown.beside.is_closed:
        stop_comparing(shown)
    elif shown.beside.result is not shown.beside_result:
        compare_sessions(shown, shown.beside)


def rate_session(session: Session) -> None:
    """Compare the session's mask with those of all raters: what was uploaded, and the result beside it."""
    presenter, raters = presenter_of(session.result), list(session.raters)
    if not presenter.mask_role:
        return
    if (other := session.beside) is not None and _can_be_laid_over(session, other):
        other_presenter = presenter_of(other.result)
        if can_be_rated(presenter, other_presenter):
            mask = other.result.volumes[other_presenter.mask_role]
            raters.append(mask.new_like(mask.array, name=name_other(session, other), remarks=()))
    if raters or list_raters(session.result.volumes):
        session.result = presenter.rate(session.result, raters, session.reference)


def add_other(view: View, session: Session) -> View:
    """Return the view of a session with what the result beside it is about, unless that is one of the raters."""
    other = session.beside
    if other is None or other.is_closed or not _can_be_laid_over(session, other):
        return view
    presenter, other_presenter = presenter_of(session.result), presenter_of(other.result)
    if can_be_rated(presenter, other_presenter):
        return view
    return lay_over(view, other.result, other_presenter, name_other(session, other))


def name_other(session: Session, other: Session) -> str:
    """Return what the result beside another one is called: its method, or if it is the same that it is the other."""
    first, second = (runtime.find_card_of(each.result).title for each in (session, other))
    return OTHER if first == second else second


def render_compared(session: Session) -> str:
    """Return the measures of a result and of the one beside it; "" where there is none."""
    other = session.beside
    if other is None or other.is_closed:
        return ""
    _, sentence = find_common_ground(_image(session), _image(other))
    return render_beside(sentence, list_measures(session.result, other.result, (SHOWN, name_other(session, other))))


def _image(session: Session) -> Volume:
    return presenter_of(session.result).image(session.result)


def _can_be_laid_over(session: Session, other: Session) -> bool:
    return find_common_ground(_image(session), _image(other))[0]
