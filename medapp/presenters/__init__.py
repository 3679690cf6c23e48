"""One file = one tab: which pictures of which roles."""

from types import ModuleType

from medapp.presenters import brain_pair, region_map, registration, restoration, segmentation

TASKS = {  # the tabs, in their order
    "segmentation": segmentation,
    "restoration": restoration,
    "registration": registration,
}


def of(task: str) -> ModuleType:
    """The module of a card's task, which need not have a tab."""
    return {**TASKS, "pair": brain_pair, "regions": region_map}[task]
