"""Theme: colours and fonts of the page, and the few style rules that Gradio's own do not cover."""

import gradio as gr


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
                "slider_color": "*primary_600",
            }.items()
        },
        block_title_text_color="*primary_800",
        block_label_text_color="*primary_800",
        block_title_background_fill_dark="*primary_700",
        block_label_background_fill_dark="*primary_700",
    )


CSS = """
button[role="tab"].selected { color: var(--primary-700) !important; }
.dark button[role="tab"].selected { color: var(--primary-400) !important; }
.med-head h1 { margin: 0; font-size: 1.5rem; }
.med-head p { margin: 0.1rem 0 0; opacity: 0.8; }
.med-banner {
  border-left: 4px solid #d97706; padding: 0.45rem 0.8rem; background: rgba(217, 119, 6, 0.1); border-radius: 4px;
}
[id$="-examples"] .caption-label {
  left: 0; right: 0; bottom: 0; max-width: none; margin: 0; border-radius: 0;
  font-size: 0.7rem; line-height: 1.2; white-space: normal;
}
.med-about p { margin: 0.25rem 0; }
.med-used { font-size: 0.85rem; margin: 0; overflow-wrap: anywhere; }
.med-about summary, .med-small { font-size: 0.85rem; opacity: 0.85; }
.med-status h2 { margin: 0; font-size: 1.25rem; }
.med-status ul { margin: 0.3rem 0 0 1.1rem; font-size: 0.9rem; list-style: disc; }
.med-warning {
  border-left: 4px solid #dc2626; padding: 0.45rem 0.8rem; margin: 0.4rem 0; background: rgba(220, 38, 38, 0.1);
  border-radius: 4px;
}
.med-numbers { display: flex; flex-wrap: wrap; gap: 0.5rem 1.6rem; margin: 0.5rem 0; }
.med-numbers dt { font-size: 0.8rem; opacity: 0.75; }
.med-numbers dd { margin: 0; font-size: 1.05rem; font-variant-numeric: tabular-nums; }
.med-figures { font-variant-numeric: tabular-nums; margin: 0.5rem 0; }
.med-figures, .med-figures tr { border: 0; }
.med-figures th, .med-figures td { text-align: left; padding: 0.2rem 1.2rem 0.2rem 0; border: 0; }
.med-figures thead th { font-size: 0.8rem; opacity: 0.75; border-bottom: 1px solid var(--border-color-primary); }
.med-figures td:last-child { font-size: 0.85rem; opacity: 0.8; }
.med-regions { font-size: 0.95rem; }
.med-origin, .med-origin tr, .med-origin th, .med-origin td { border: 0 !important; }
.med-origin th { text-align: left; padding: 0.15rem 1rem 0.15rem 0; vertical-align: top; white-space: nowrap; }
.med-known { display: block; max-height: 16rem; overflow-y: auto; font-size: 0.85rem; }
.med-known, .med-known tr, .med-known th, .med-known td { border: 0 !important; }
.med-known th { text-align: left; font-weight: 500; padding: 0.1rem 1rem 0.1rem 0; }
.med-flicker { display: grid; justify-content: center; background: #000; }
.med-flicker img { grid-area: 1 / 1; max-height: 640px; }
.med-flicker img + img { animation: med-flicker 1.4s step-end infinite; }
.med-flicker:hover img { animation-play-state: paused; }
@keyframes med-flicker { 50% { opacity: 0; } }
.med-origin td, .med-status { overflow-wrap: anywhere; }
@media (max-width: 640px) { .med-figures tr > :nth-child(5) { display: none; } }
"""
