"""Upload check: what a tab says of a visitor's files before they run."""

from collections.abc import Sequence
from typing import Any

from medapp.analysis.reference import NOT_A_MASK_MESSAGE
from medapp.card import Input
from medapp.errors import InputError
from medapp.imaging.label_maps import count_values, is_label_map
from medapp.imaging.volume import Volume
from medapp.io import sandbox
from medapp.io.files import SeveralSeriesError
from medapp.presenters.comparison import prepare_comparison
from medapp.serving import run_log
from medapp.serving.input_fit import Fit, Level, judge_input
from medapp.ui.form import Form
from medapp.ui.kept_upload import KeptUpload, find_upload, looking
from medapp.ui.own_files import uploaded_paths
from medapp.ui.tab import Tab
from medapp.ui.visitors import visitors

REFERENCE = "reference"
BUSY = Fit(Level.UNSURE, "Not looked at: many uploads are being read at the moment.")
UNSEEN = Fit(Level.UNSURE, "It could not be looked at before the run.")


class UploadCheck:
    """Looks at the files in the boxes of a tab; what it has found of them is kept with them."""

    def __init__(self, tab: Tab) -> None:
        """`tab` may still be without its parts."""
        self.tab = tab

    def read_reference(self, form: Form, paths: list[str] | None, visitor: str) -> Volume | None:
        """Read the reference, None if there is none. Raises InputError."""
        if visitor and paths and uploaded_paths(paths):
            return self._keep_reference(form, paths, visitor).read()
        return sandbox.read(paths, **self._reading(form)) if paths else None

    def list_fits(self, data: dict, visitor: str) -> dict[str, Fit | None]:
        """Return how each upload fits, by input or REFERENCE; None where nobody has looked yet. Nothing is read."""
        form = self.tab.by_name[data[self.tab.method]]
        return {name: kept.fit for name, kept in self._find_uploads(form, data, visitor).items()}

    def look(self, data: dict, visitor: str) -> dict[str, Fit | None]:
        """Return how each upload fits, by input or REFERENCE, none if others came; reads what was not read yet."""
        form = self.tab.by_name[data[self.tab.method]]
        uploads = self._find_uploads(form, data, visitor)
        fits: dict[str, Fit | None] = {}
        for name, kept in uploads.items():
            if kept.fit is None or name == REFERENCE:  # which depends on the image
                with looking() as is_turn:
                    fits[name] = self._judge(name, form, data, visitor, kept) if is_turn else BUSY
                if is_turn:
                    kept.fit = fits[name]
            else:
                fits[name] = kept.fit
        return fits if all(kept.folder.exists() for kept in uploads.values()) else {}  # others are there by now

    def _find_uploads(self, form: Form, data: dict, visitor: str) -> dict[str, KeptUpload]:
        """The visitor's uploads of a form and the reference; what is kept of emptied boxes is dropped."""
        uploads = {}
        for source in form.card.inputs:
            if uploaded_paths(data[form.boxes[source.name]]):
                uploads[source.name] = form.find_upload(source, data, visitor)
            else:
                visitors.drop(visitor, form.place(source))
        if uploaded_paths(paths := data[self.tab.reference]):
            uploads[REFERENCE] = self._keep_reference(form, paths, visitor)
        else:
            visitors.drop(visitor, self._reference_place)
        return uploads

    def _judge(self, name: str, form: Form, data: dict, visitor: str, kept: KeptUpload) -> Fit | None:
        try:
            volume = kept.read()
            if name == REFERENCE:
                return self._judge_reference(form, data, visitor, volume)
            return judge_input(next(source for source in form.card.inputs if source.name == name), volume)
        except SeveralSeriesError as several:
            return Fit(Level.UNSURE, f"{several} You choose it after pressing {self.tab.task.run}.")
        except InputError as error:
            return Fit(Level.REFUSED, str(error))
        except Exception as error:  # the run will tell
            run_log.log_fault(error)
            return UNSEEN

    def _judge_reference(self, form: Form, data: dict, visitor: str, reference: Volume) -> Fit:
        volumes: dict[str, Volume | None] = {}
        for source in form.card.inputs:
            volumes[source.name] = self._read_quietly(form, source, data, visitor)
        if any(volumes[source.name] is not None for source in form.card.inputs if not source.optional):
            named = form.card.name_inputs([volumes[source.name] for source in form.card.inputs])
            note = prepare_comparison(form.card, named, lambda: reference).note
            return Fit(Level.DOUBT, note) if note else Fit(Level.FITS, "It fits.")
        if self.tab.task.reference.labels and not is_label_map(reference.array):
            return Fit(Level.DOUBT, NOT_A_MASK_MESSAGE.format(count_values(reference.array)))
        return Fit(Level.UNSURE, "It is compared once there is an image.")

    def _read_quietly(self, form: Form, source: Input, data: dict, visitor: str) -> Volume | None:
        try:
            return form.read_input(source, data, visitor)
        except InputError:
            return None

    @property
    def _reference_place(self) -> str:
        return f"{self.tab.task.name}/{REFERENCE}"

    def _keep_reference(self, form: Form, paths: Sequence[str], visitor: str) -> KeptUpload:
        return find_upload(visitor, self._reference_place, paths, None, **self._reading(form))

    def _reading(self, form: Form) -> dict[str, Any]:
        """How a reference is read."""
        return {"name": REFERENCE, "colour": form.colour, "labels": self.tab.task.reference.labels}
