"""HTML templates: HTML from Jinja2 files, in which all text is escaped unless the template marks it as HTML."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


class HtmlTemplates:
    """The template files of one folder, and the macros in one of them."""

    def __init__(self, folder: Path, macros: str) -> None:
        """Read templates from `folder`; `macros` names the file of `render_macro`."""
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        self._macros = macros

    def render(self, name: str, **values: object) -> str:
        """Return what a template file gives."""
        return self._environment.get_template(name).render(**values)

    def render_macro(self, name: str, *values: object) -> str:
        """Return what a macro gives, without the lines' ends around it."""
        return str(getattr(self._environment.get_template(self._macros).module, name)(*values)).strip()
