"""Sharing: what the menu "Share" must know of a result."""

from collections.abc import Mapping
from typing import Any

from medapp.card import Card
from medapp.examples import Example
from medapp.presenters import get_presenter
from medapp.ui.gradio_compat import GradioModel


class SceneSharing(GradioModel):
    """The `headline` for captions; `link` is what an address holds to reopen the result, None where none can.

    `is_separable`: it can be saved without the images that were put in.
    """

    headline: str
    link: dict[str, str] | None
    is_separable: bool


def describe_sharing(
    card: Card, headline: str, example: Example | None = None, settings: Mapping[str, Any] | None = None
) -> SceneSharing:
    """Describe a result of the method; `settings` are those of the shown result of an `example`, by default its own."""
    link = None
    if example is not None:
        begin = card.parse_settings(example.settings)
        live = {option.name: begin[option.name] for option in card.options if option.live}
        changed = {name: (settings or {}).get(name, value) for name, value in live.items()}
        link = {"example": example.name} | {name: str(value) for name, value in changed.items() if value != live[name]}
    return SceneSharing(headline=headline, link=link, is_separable=get_presenter(card).is_separable)
