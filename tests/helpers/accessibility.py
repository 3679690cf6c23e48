"""What axe finds on a page that hinders people."""

from axe_playwright_python.sync_playwright import Axe

THEIRS = {"nested-interactive"}  # Gradio's upload icon, a button that holds its file input
GRAVE = {"serious", "critical"}


def faults(page) -> list[str]:
    """What axe finds that is serious and ours to mend, a line for each element."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:120]} {[why['message'] for why in node['any']]}"
        for each in violations
        if each["impact"] in GRAVE and each["id"] not in THEIRS
        for node in each["nodes"]
    ]
