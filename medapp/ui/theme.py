"""Theme: colours and fonts of the page, its style rules and its script."""

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent


def create_theme() -> gr.themes.Base:
    """Create the theme: greys with one blue, and system fonts, so that nothing is fetched from other sites.

    Text has a contrast of at least 4.5; Gradio's own shades are lighter.
    """
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Soft(
        primary_hue=gr.themes.colors.sky,
        neutral_hue=gr.themes.colors.slate,
        font=fonts,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(
        body_text_color_subdued="*neutral_600",
        link_text_color_dark="*secondary_300",
        link_text_color_visited_dark="*secondary_300",
        **{
            f"{part}{mode}": colour
            for mode in ("", "_dark")
            for part, colour in {
                "button_primary_background_fill": "*primary_700",
                "button_primary_background_fill_hover": "*primary_800",
                "button_primary_border_color": "*primary_700",
                "button_primary_border_color_hover": "*primary_800",
                "checkbox_label_background_fill_selected": "*primary_700",
                "checkbox_background_color_selected": "*primary_800",
                "checkbox_border_color": "*neutral_500",
                "checkbox_border_color_hover": "*primary_600",
                "slider_color": "*primary_600",
            }.items()
        },
        block_title_text_color="*primary_800",
        block_label_text_color="*primary_800",
        block_title_background_fill_dark="*primary_700",
        block_label_background_fill_dark="*primary_700",
    )


def render_head() -> str:
    """Return the page's style and script as HTML for `launch(head=...)`.

    Rules given to `launch(css=...)` would be confined to the inside of the page, which must not scroll as a whole.
    """
    style, script = ((HERE / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return f"<style>{style}</style><script>{script}</script>"
