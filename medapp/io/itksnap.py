"""Label descriptions for ITK-SNAP: the numbers, colours and names of a label map."""

from pathlib import Path

from medapp.imaging.brain_labels import region_colours
from medapp.imaging.volume import Volume

DEFAULT_COLOUR = (200, 200, 200)
FILE_HEADER = "# ITK-SNAP label description: index, red, green, blue, opacity, visible, mesh, name\n"


def write_label_table(volume: Volume, path: Path) -> Path:
    """Write the labels of `volume` in the colours of the app's pictures and return the path (`.label`)."""
    colours = region_colours(volume.labels)
    lines = ['0 0 0 0 0 0 0 "Clear Label"']
    for number, name in sorted(volume.labels.items()):
        red, green, blue = colours.get(number, DEFAULT_COLOUR)
        lines.append(f'{number} {red} {green} {blue} 1 1 1 "{name}"')
    path.write_text(FILE_HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return path
