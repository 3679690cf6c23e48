"""Task form: the left side of a tab, where a method, its images and its options are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from medapp.card import Card
from medapp.examples import Example
from medapp.presenters.task import Task
from medapp.ui import form as forms
from medapp.ui import html
from medapp.ui.example_inputs import ExampleInputs
from medapp.ui.scene_box import SceneBox, lay_out_scene_box

RATERS_BOX_HELP = (
    "One file for each rater. They are compared with each other and with the result that is shown, at once."
)


@dataclass(frozen=True)
class TaskForm:
    """The components: `asked` holds the boxes, lists and options of each card, `groups` what is shown of it alone.

    `raters` takes masks of other raters, a file each; None where there are none.
    """

    method: gr.Radio
    asked: dict[str, tuple[dict, dict, dict]]
    groups: dict[str, gr.Column]
    reference: gr.File
    by_voxels: gr.Checkbox
    raters: gr.File | None
    example_inputs: ExampleInputs
    buttons: gr.Row
    run: gr.Button
    gallery: gr.Gallery
    scene_box: SceneBox


def lay_out_form(task: Task, name: str, cards: Sequence[Card], examples: Sequence[Example], chosen: Card) -> TaskForm:
    """The form inside the current column, with that method `chosen`; `name` begins the components' ids."""
    titles = [(card.title, card.name) for card in cards]
    method = gr.Radio(titles, value=chosen.name, label="Method", elem_id=f"{name}-method", elem_classes="methods")
    gallery = lay_out_gallery(name, examples)
    asked: dict[str, tuple[dict, dict, dict]] = {}
    groups: dict[str, gr.Column] = {}
    for card in cards:
        with gr.Column(visible=card is chosen) as groups[card.name]:
            gr.HTML(html.render_method(card))
            asked[card.name] = forms.lay_out_inputs(card)
    with gr.Accordion(task.reference.title, open=False):
        about = task.reference.help
        gr.HTML(html.render_help(f"{about[0].upper()}{about[1:]}."))
        reference = forms.create_upload_box("Image or label map", f"{name}-reference")
        by_voxels = gr.Checkbox(
            False,
            label="Take the reference voxel by voxel",
            info="For a reference without a header: its voxels are laid on the image's, in their order.",
            visible=False,
            elem_id=f"{name}-by-voxels",
        )
        raters = forms.create_upload_box("Other raters' masks", f"{name}-raters") if task.has_raters else None
        if raters is not None:
            gr.HTML(html.render_help(RATERS_BOX_HELP))
    scene_box = lay_out_scene_box(name)
    example_inputs = ExampleInputs(name, chosen, task.reference.name)
    with gr.Row(elem_classes="run-row") as buttons:
        run = gr.Button(task.run, variant="primary", elem_id=f"{name}-run")
    return TaskForm(
        method, asked, groups, reference, by_voxels, raters, example_inputs, buttons, run, gallery, scene_box
    )


def lay_out_gallery(name: str, examples: Sequence[Example]) -> gr.Gallery:
    """The examples in a row that scrolls; a click on one shows its result."""
    return gr.Gallery(
        [(forms.find_thumbnail(example), describe_example(example)) for example in examples],
        label="Examples",
        visible=bool(examples),
        columns=max(1, len(examples)),
        height=228,
        allow_preview=False,
        interactive=False,
        format="png",
        buttons=[],
        elem_id=f"{name}-examples",
        elem_classes="examples",
    )


def describe_example(example: Example) -> str:
    """The caption of an example: its title, and below it what to look at."""
    return "\n".join(filter(None, (example.title, example.look, "Synthetic" if example.synthetic else "")))
