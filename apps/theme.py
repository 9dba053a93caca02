"""One look for all pages, in fonts that gradio ships: no page asks another host for them. Only their weights 400 and 700 are whole."""

from gradio import themes

THEME = themes.Soft(
    primary_hue=themes.colors.indigo,
    secondary_hue=themes.colors.indigo,
    neutral_hue=themes.colors.slate,
    radius_size=themes.sizes.radius_md,
    font=[themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
    font_mono=[themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
)

CSS = """
.gradio-container { width: 100% !important; max-width: 1160px !important; margin: 0 auto !important; }
.gradio-container .column, .gradio-container .tabs { min-width: 0; }
footer .divider { display: none !important; }
@media (max-width: 640px) { .gradio-container .app { padding: 8px !important; } }
.kd { color: var(--body-text-color); line-height: 1.5; }
.kd h1 { font-size: 1.9rem; font-weight: 700; letter-spacing: -.02em; margin: .4rem 0 .2rem; }
.kd h2 { font-size: 1.15rem; font-weight: 700; margin: 0 0 .1rem; overflow-wrap: anywhere; }
.kd p { margin: .2rem 0; }
.kd .soft { color: var(--body-text-color-subdued); }
.kd .small { font-size: .86rem; }
.kd .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 16px; margin: 18px 0; }
.kd .card { background: var(--block-background-fill); border: 1px solid var(--border-color-primary); border-radius: 14px;
  padding: 18px 20px; display: flex; flex-direction: column; gap: 8px; box-shadow: var(--shadow-drop); }
.kd .card.broken { border-color: #f59e0b; }
.kd .figure { font-size: 2.1rem; font-weight: 700; letter-spacing: -.02em; line-height: 1.1; color: var(--primary-600); }
.dark .kd .figure { color: var(--primary-300); }
.kd .strip { display: flex; gap: 6px; flex-wrap: wrap; }
.kd .strip img { width: 38px; height: 38px; margin: 0; image-rendering: pixelated; border-radius: 6px;
  border: 1px solid var(--border-color-primary); }
.kd .tag { display: inline-block; font-size: .78rem; padding: 1px 8px; border-radius: 99px; background: var(--background-fill-secondary);
  border: 1px solid var(--border-color-primary); }
.kd a.go { margin-top: auto; align-self: flex-start; background: var(--primary-600); color: #fff !important; font-weight: 700;
  border-radius: 9px; padding: 7px 16px; text-decoration: none; }
.kd a.go:hover { background: var(--primary-700); }
.kd dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 14px; margin: 10px 0 0; font-size: .88rem; }
.kd dt { color: var(--body-text-color-subdued); }
.kd dd { margin: 0; overflow-wrap: anywhere; }
.kd pre { background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); border-radius: 10px;
  padding: 10px 14px; overflow-x: auto; font-family: var(--font-mono); font-size: .82rem; margin: 6px 0; }
.kd .meter { position: relative; height: 8px; border-radius: 99px; background: var(--background-fill-secondary); margin: 8px 0 4px; }
.kd .meter i { position: absolute; top: 0; bottom: 0; border-radius: 99px; background: var(--primary-500); opacity: .35; min-width: 3px; }
.kd .meter b { position: absolute; top: -3px; width: 3px; height: 14px; border-radius: 2px; background: var(--primary-600); }
#seen img, #examples img { image-rendering: pixelated; }
.kd .above { font-weight: 700; font-size: .9rem; margin: 0; }
.above-block { margin: 2px 0 -12px 2px; }
#trust { padding: 0; }
#trust .html-container { padding: 0; }
#examples .grid-wrap { min-height: 0; height: auto; max-height: 200px; }
#examples .grid-container { grid-template-columns: repeat(auto-fill, 64px) !important; gap: 8px; padding: 0;
  align-content: start; grid-auto-rows: min-content; }
#examples .thumbnail-item { width: 64px; height: 64px; aspect-ratio: 1; }
#examples .caption-label { font-size: .7rem; padding: 0 5px; max-width: 60px; overflow: hidden; text-overflow: ellipsis; }
"""
