"""Tasks: the tabs of the page, with what each asks its user for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReferenceInput:
    """The image that a result is compared with, or that is warped along: how it is asked for.

    `labels` if it is a mask or a label map; `refused` begins the note where it cannot be used; `compared` if metrics
    against it are computed.
    """

    title: str
    help: str
    name: str
    labels: bool
    refused: str
    compared: bool = True


@dataclass(frozen=True)
class Task:
    """A tab: its title, what one does there, and what the button says; `has_raters` if masks of others are compared."""

    name: str
    title: str
    about: str
    run: str
    reference: ReferenceInput
    has_raters: bool = False


SEGMENTATION = Task(
    "segmentation",
    "Segmentation",
    "Segment lesions, brain regions or the whole brain, measure them, and download the masks.",
    "Segment",
    ReferenceInput(
        "Compare with a reference mask",
        "a mask, or for brain regions a label map, to compare with",
        "Reference",
        labels=True,
        refused="Not compared with the reference.",
    ),
    has_raters=True,
)
RESTORATION = Task(
    "restoration",
    "Restoration",
    "Denoise a scan or upsample an image, and see what changed.",
    "Restore",
    ReferenceInput(
        "Compare with a reference image",
        "a clean image of the same place, to compare with",
        "Reference",
        labels=False,
        refused="Not compared with the reference.",
    ),
)
REGISTRATION = Task(
    "registration",
    "Registration",
    "Register two brains and inspect the deformation.",
    "Register",
    ReferenceInput(
        "Also warp another image",
        "an image or a label map in the space of the moving image, to warp along with it",
        "Co-warped image",
        labels=False,
        refused="Nothing was warped along.",
        compared=False,
    ),
)
TASKS = {task.name: task for task in (SEGMENTATION, RESTORATION, REGISTRATION)}  # in the order of the tabs
