"""The page: `python app.py`, or the entry point of a Hugging Face Space."""

from medapp.ui.page import build, launch

demo = build()

if __name__ == "__main__":
    launch(demo)
