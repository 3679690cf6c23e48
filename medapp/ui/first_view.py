"""First view: a result of an example that ships with the app, so that every tab begins with one and computes nothing.

`python -m training.examples.make_first_views` writes them.

Environment: MEDAPP_FIRST_VIEW=0 begins with empty tabs.
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medapp.examples import Example, of_task
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui.example_results import add_example_note
from medapp.ui.ownership import ownership
from medapp.ui.viewer.scene import Scene, script_file
from medapp.ui.viewer.sharing import describe_sharing

FOLDER = "first_view"  # in that of the example
FILE = "view.json"


@dataclass(frozen=True)
class FirstView:
    """What is shown of an example: the scene, and the headline. `result` has no volumes, but all the rest."""

    example: Example
    scene: Scene
    headline: str
    result: Result


@cache
def load_first_view(task: str) -> FirstView | None:
    """Load the first view of a tab, and let everybody read its files; None where none has been shipped or is wanted."""
    if os.environ.get("MEDAPP_FIRST_VIEW") == "0":
        return None
    for example in of_task(task):
        folder = find_folder(example)
        if (folder / FILE).is_file():
            ownership.publish(folder.iterdir())
            return read_first_view(example)
    return None


def find_folder(example: Example) -> Path:
    """Where the first view of an example lies, if there is one."""
    return next(iter(example.images.values())).parent / FOLDER


def read_first_view(example: Example) -> FirstView:
    """Read the first view of an example."""
    folder = find_folder(example)
    content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    scene = Scene.model_validate(_place_files(content["scene"], folder))
    scene.script = script_file()
    result = add_example_note(Result.from_facts(content["facts"]), example)
    scene.sharing = describe_sharing(runtime.find_card(example.pipeline), content["headline"], example)
    return FirstView(example, scene, content["headline"], result)


def write_first_view(folder: Path, scene: Scene, headline: str, facts: dict[str, Any]) -> None:
    """Write a scene, whose files are in the folder already, and `Result.facts` of its result."""
    content = {"headline": headline, "facts": facts, "scene": _name_files(scene.model_dump(mode="json"))}
    (folder / FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _name_files(value: Any) -> Any:
    """The scene with a name in place of each file; files are dicts with a "path"."""
    if isinstance(value, dict):
        if "path" in value:
            return {"file": Path(value["path"]).name}
        return {key: _name_files(part) for key, part in value.items() if key != "script"} | (
            {"script": None} if "script" in value else {}
        )
    return [_name_files(part) for part in value] if isinstance(value, list) else value


def _place_files(value: Any, folder: Path) -> Any:
    """The reverse of `_name_files`."""
    if isinstance(value, dict):
        if list(value) == ["file"] and isinstance(value["file"], str):
            return {"path": str(folder / value["file"]), "orig_name": value["file"]}
        return {key: _place_files(part, folder) for key, part in value.items()}
    return [_place_files(part, folder) for part in value] if isinstance(value, list) else value
