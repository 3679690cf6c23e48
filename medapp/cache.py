"""The folder that keeps what is fetched or converted once: converted networks, the viewer's script.

Environment: MEDAPP_CACHE names another folder; XDG_CACHE_HOME another parent, as everywhere.
"""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """MEDAPP_CACHE if it is set, else `medapp` in the user's cache folder, wherever the system has that."""
    if folder := os.environ.get("MEDAPP_CACHE"):
        return Path(folder)
    return user_cache_path("medapp", appauthor=False)
