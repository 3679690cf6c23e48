"""The panel of the registration tab: the figures and regions, and a preview of what goes in."""

from collections.abc import Callable
from typing import Any

from medapp.result import Result
from medapp.ui.form import Form
from medapp.ui.panels.base import Frame, Panel
from medapp.ui.panels.metric_table import render_registration_metrics
from medapp.ui.panels.pair_preview import lay_out_preview
from medapp.ui.session import Session
from medapp.ui.tab import Tab, Volumes


class RegistrationPanel(Panel):
    """See `Panel`; `preview` shows the images as they go into the network."""

    def __init__(self, frame: Frame) -> None:
        """Lay out the components in their places."""
        super().__init__(frame)
        self.preview = lay_out_preview(frame)

    @property
    def inputs(self) -> list[Any]:
        """The previewed pair."""
        return [self.preview.kept]

    @property
    def shown(self) -> list[Any]:
        """Also the preview."""
        return [*super().shown, *self.preview.shown]

    @property
    def buttons(self) -> list[Any]:
        """That of the preview."""
        return [self.preview.button]

    def prepare(self, form: Form, data: dict, volumes: Volumes) -> tuple[Volumes, Callable[[Result], Result]]:
        """With the label maps of the preview."""
        return self.preview.prepare(form, data, volumes), lambda result: result

    def clear(self) -> dict:
        """Without a previewed pair."""
        return self.preview.clear()

    def show(self, session: Session) -> dict:
        """Also what went in."""
        return super().show(session) | self.preview.show(session.result, is_open=False)

    def render_numbers(self, result: Result) -> str:
        """The metrics of the affine transform beside those of the deformation."""
        return render_registration_metrics(result)

    def connect(self, tab: Tab) -> None:
        """Also the preview."""
        super().connect(tab)
        self.preview.connect(tab)
