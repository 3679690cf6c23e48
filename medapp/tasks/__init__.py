"""One file = one tab: which pictures of which roles."""

from types import ModuleType

from medapp.tasks import pair, regions, registration, restoration, segmentation

TASKS = {  # the tabs, in their order
    "segmentation": segmentation,
    "restoration": restoration,
    "registration": registration,
}


def of(task: str) -> ModuleType:
    """The module of a card's task, which need not have a tab."""
    return {**TASKS, "pair": pair, "regions": regions}[task]
