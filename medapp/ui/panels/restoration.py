"""The panel of the restoration tab: the figures before and after, and the regions, which can be edited."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from medapp.imaging.volume import digest_volume
from medapp.result import Result
from medapp.ui import html
from medapp.ui.form import Form
from medapp.ui.panels.base import Frame, Panel
from medapp.ui.panels.region_editor import lay_out_region_editor
from medapp.ui.region_map import RegionMap, create_region_map
from medapp.ui.session import Session
from medapp.ui.tab import Tab, Volumes


class RestorationPanel(Panel):
    """See `Panel`; `editor` changes the regions."""

    def __init__(self, frame: Frame) -> None:
        """Lay out the components in their places."""
        super().__init__(frame)
        self.editor = lay_out_region_editor(frame)

    @property
    def inputs(self) -> list[Any]:
        """The regions of the editor."""
        return [self.editor.region_map]

    @property
    def shown(self) -> list[Any]:
        """Also the editor."""
        return [*super().shown, *self.editor.panel_outputs]

    @property
    def buttons(self) -> list[Any]:
        """That which finds regions."""
        return [self.editor.find]

    def prepare(self, form: Form, data: dict, volumes: Volumes) -> tuple[Volumes, Callable[[Result], Result]]:
        """With the regions of the editor, if they were found in this image as the form asks, or changed by hand."""
        draft: RegionMap | None = data[self.editor.region_map]
        names = [source.name for source in form.card.inputs]
        if (
            draft is None
            or "region_map" not in names
            or volumes[0] is None
            or draft.image_digest != digest_volume(volumes[0])
        ):
            return volumes, lambda result: result
        uploaded = volumes[names.index("region_map")] is not None
        if not draft.is_edited and draft.source != ("uploaded" if uploaded else data[form.options["regions"]]):
            return volumes, lambda result: result
        origin = f"{draft.source}, changed by hand" if draft.is_edited else draft.source
        notes = ("The regions were used as you changed them.",) if draft.is_edited else ()

        def add_origin(result: Result) -> Result:
            return replace(result, settings={**result.settings, "regions": origin}, notes=(*notes, *result.notes))

        with_regions = [draft.to_volume() if n == "region_map" else v for n, v in zip(names, volumes, strict=True)]
        return with_regions, add_origin

    def clear(self) -> dict:
        """Without regions."""
        return self.editor.close()

    def show(self, session: Session) -> dict:
        """Also the regions that were used; an empty editor where the method uses none."""
        return super().show(session) | self._open_editor(session)

    def _open_editor(self, session: Session) -> dict:
        result = session.result
        if "regions" not in result.volumes:
            return self.clear()
        image = session.image or result.volumes["image"]
        how = str(result.settings.get("regions", ""))
        return self.editor.open(
            create_region_map(image, result.volumes["image"], result.volumes["regions"], how), wide=False
        )

    def render_numbers(self, result: Result) -> str:
        """The image quality before beside after."""
        return html.render_image_quality(result)

    def connect(self, tab: Tab) -> None:
        """Also the editor."""
        super().connect(tab)
        self.editor.connect(tab)
