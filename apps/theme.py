"""One look for all pages, in fonts that gradio ships: no page asks another host for them. Only their weights 400 and 700 are whole."""

from gradio import themes

THEME = themes.Soft(
    primary_hue=themes.colors.indigo,
    secondary_hue=themes.colors.indigo,
    neutral_hue=themes.colors.slate,
    radius_size=themes.sizes.radius_md,
    font=[themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
    font_mono=[themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
).set(  # Soft's greys and indigos on white have a contrast of 2.5 to 4.3; 4.5 can be read by most
    background_fill_primary="*neutral_50",
    block_background_fill="white",
    input_background_fill="white",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_label_text_color="*primary_700",
    block_title_text_color="*primary_700",
    color_accent="*primary_600",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_hover_dark="*primary_700",
    link_text_color_dark="*secondary_300",
)

CSS = """
.gradio-container { width: 100% !important; max-width: 1160px !important; margin: 0 auto !important; }
.gradio-container .column, .gradio-container .tabs { min-width: 0; }
:root { --kd-figure: var(--primary-600); --kd-match: #15803d; --kd-truth: #c2410c; --kd-warning: #d97706; }
.dark { --kd-figure: var(--primary-300); --kd-match: #4ade80; --kd-truth: #fb923c; --kd-warning: #f59e0b;
  --color-accent: var(--primary-400); }
.html-container { padding: 0 !important; }
button[aria-label="common.upload"] { display: none; }  /* gradio 6.31 puts a button inside this one, under a name of its own making */
footer .divider { display: none !important; }
@media (max-width: 640px) { .kd .examples.many { grid: auto auto / auto-flow 72px; overflow-x: auto; padding-bottom: 6px; }
  .gradio-container .app { padding: 8px !important; } }
.gradio-container :is(a, button, input, textarea, summary, [tabindex="0"]):focus-visible {
  outline: 3px solid var(--color-accent) !important; outline-offset: 2px; border-radius: 6px; }
.kd { color: var(--body-text-color); line-height: 1.5; }
.kd h1 { font-size: 1.9rem; font-weight: 700; letter-spacing: -.02em; line-height: 1.2; margin: .4rem 0 .3rem; }
.kd h2 { font-size: 1.15rem; font-weight: 700; margin: 0 0 .1rem; overflow-wrap: anywhere; }
.kd p { margin: .2rem 0; }
.kd .soft { color: var(--body-text-color-subdued); }
.kd .small { font-size: .86rem; }
.kd .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 16px; margin: 8px 0; }
.kd .card { background: var(--block-background-fill); border: 1px solid var(--border-color-primary); border-radius: 14px;
  padding: 18px 20px; display: flex; flex-direction: column; gap: 8px; box-shadow: var(--shadow-drop); min-width: 0; }
.kd .card.broken { border-color: #f59e0b; }
.kd .figure { font-size: 2.1rem; font-weight: 700; letter-spacing: -.02em; line-height: 1.1; color: var(--kd-figure); }
.kd .strip { display: flex; gap: 6px; flex-wrap: wrap; }
.kd .strip img { width: 38px; height: 38px; margin: 0; image-rendering: pixelated; border-radius: 6px;
  border: 1px solid var(--border-color-primary); }
.kd .tag { display: inline-block; font-size: .78rem; padding: 1px 8px; border-radius: 99px; background: var(--background-fill-secondary);
  border: 1px solid var(--border-color-primary); }
.kd a { color: var(--kd-figure); text-decoration: underline; }
.kd p a { margin: 0 !important; padding: 0 !important; }
.kd a.go { margin-top: auto; align-self: flex-start; background: var(--primary-600); color: #fff; font-weight: 700;
  border-radius: 9px; padding: 7px 16px; text-decoration: none; }
.kd a.go:hover { background: var(--primary-700); }
.kd dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 14px; margin: 10px 0 0; font-size: .88rem; }
.kd dt { color: var(--body-text-color-subdued); }
.kd dd { margin: 0; overflow-wrap: anywhere; }
.kd .meter { position: relative; height: 8px; border-radius: 99px; background: var(--border-color-primary); margin: 8px 0 4px; }
.kd .meter i { position: absolute; top: 0; bottom: 0; border-radius: 99px; background: var(--kd-figure); opacity: .45; min-width: 3px; }
.kd .meter b { position: absolute; top: -3px; width: 3px; height: 14px; border-radius: 2px; background: var(--kd-figure); }
.kd .said { display: flex; gap: 18px; align-items: center; min-height: 128px; }
.kd .said p { display: flex; flex-direction: column; gap: 2px; margin: 0; min-width: 0; }
.kd .said .label { font-size: 1.7rem; line-height: 1.15; overflow-wrap: anywhere; }
.kd figure { margin: 0; flex: none; text-align: center; }
.kd figure img { width: 104px; height: 104px; object-fit: contain; margin: 0; border-radius: 8px;
  border: 1px solid var(--border-color-primary); }
.kd h3 { font-size: .95rem; font-weight: 700; margin: 6px 0 0; }
.kd .sentence { font-size: 1.45rem; line-height: 1.35; font-weight: 700; overflow-wrap: anywhere; }
.kd .sentence span { border-radius: 5px; padding: 0 2px; margin: 0 -2px; cursor: pointer; }
.kd .sentence span.now { background: var(--primary-600); color: #fff; }
.kd .looks { position: relative; width: min(100%, 384px); align-self: center; overflow: hidden; border-radius: 10px;
  border: 1px solid var(--border-color-primary); }
.kd .looks img { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; object-fit: fill; }
.kd .looks img.cloth { image-rendering: auto; opacity: 0; transition: opacity .15s; }
.kd .looks img.cloth.now { opacity: 1; }
.kd .spoken input[type=range] { width: min(100%, 384px); align-self: center; margin: 0; accent-color: var(--primary-600); cursor: pointer; }
.kd .spoken label { align-self: center; text-align: center; }
.kd .examples img, .kd .strip img { object-fit: contain; }
.kd .matched:not(.found) .verdict .if-match, .kd .matched.found .verdict .if-not, .kd .matched:not(.undecided) .if-open,
.kd .ranks li:not(.match) .if-match, .kd .ranks li.match .if-not,
.kd .matched.undecided .if-match, .kd .matched.undecided .if-not { display: none; }  /* gradio 6.31 breaks :is() at its commas */
.kd .verdict { flex: 1 1 150px; min-width: 0; }
.kd .verdict .small { margin-top: 6px; }
.kd .verdict .label { font-size: 1.7rem; line-height: 1.15; overflow-wrap: anywhere; }
.kd .both { display: flex; gap: 12px; flex-wrap: wrap; align-items: flex-start; }
.kd .both figure { width: 104px; }
.kd .both .looks { width: 100%; }
.kd .matched .looks img { image-rendering: auto; }
.kd .matched:has(.looked:checked) .cloth { opacity: 1; }
.kd .toggle { display: flex; gap: 8px; align-items: center; cursor: pointer; }
.kd .toggle input { margin: 0; accent-color: var(--primary-600); }
.kd .ranks { list-style: none; margin: 4px 0 0; padding: 0; display: grid; gap: 8px; grid-template-columns: repeat(6, minmax(0, 1fr)); }
@media (max-width: 640px) { .kd .ranks { grid-template-columns: repeat(4, minmax(0, 1fr)); } }
.kd .ranks li { display: flex; flex-direction: column; align-items: center; gap: 0; margin: 0; padding: 6px 2px; min-width: 0;
  text-align: center; font-size: .78rem; line-height: 1.35; border: 1px dashed var(--border-color-primary); border-radius: 10px; }
.kd .ranks li.match { border: 2px solid var(--kd-match); padding: 5px 1px; }
.kd .ranks li > * { max-width: 100%; overflow-wrap: anywhere; }
.kd .ranks li .if-match, .kd .verdict .yes { color: var(--kd-match); font-weight: 700; }
.kd .ranks .tag { font-size: .72rem; padding: 0 6px; }
.kd .ranks img, .kd .ranks .blank { width: 48px; height: 96px; object-fit: contain; margin: 0 0 4px; border-radius: 6px;
  background: var(--background-fill-secondary); }
.kd .ranks data { font-weight: 700; font-variant-numeric: tabular-nums; }
.kd .threshold input[type=range] { width: 100%; margin: 0; accent-color: var(--primary-600); cursor: pointer; }
.kd .marks, .kd .turns, .kd .acts, .kd .ask, .kd .rename { display: flex; gap: 8px; flex-wrap: wrap; align-items: center; }
.kd .marks button, .kd .turns button, .kd .album button { padding: 3px 11px; margin: 0; font-size: .82rem; font-weight: 400;
  border-radius: 8px; cursor: pointer;
  background: var(--block-background-fill); border: 1px solid var(--border-color-primary); color: var(--body-text-color); }
.kd .marks button:hover, .kd .turns button:hover, .kd .album button:hover { border-color: var(--color-accent); }
.kd .marks button.now { border-color: var(--kd-figure); color: var(--kd-figure); font-weight: 700; }
.kd .threshold b { font-variant-numeric: tabular-nums; }
.kd .album { list-style: none; margin: 4px 0 0; padding: 0; }
.kd .album li { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; margin: 0; padding: 8px 0;
  border-bottom: 1px solid var(--border-color-primary); }
.kd .album .faces { display: flex; gap: 4px; flex: none; width: 108px; }
.kd .album img { width: 33px; height: 66px; object-fit: contain; margin: 0; border-radius: 5px;
  background: var(--background-fill-secondary); }
.kd .album .who { flex: 1 1 7rem; display: flex; flex-direction: column; min-width: 0; font-size: .9rem; overflow-wrap: anywhere; }
.kd .album .ask, .kd .album .rename, .kd .album .asking .acts, .kd .album .renaming .acts { display: none; }
.kd .album .asking .ask, .kd .album .renaming .rename { display: flex; }
.kd .album .rename input { flex: 1 1 8rem; min-width: 0; padding: 3px 8px; font-size: .9rem; border-radius: 8px; color: inherit;
  background: var(--input-background-fill); border: 1px solid var(--border-color-primary); }
.kd .album button.grave { background: #b91c1c; border-color: #b91c1c; color: #fff; }
.kd .ask span { font-size: .86rem; }
.kd .turns { justify-content: space-between; margin-top: 8px; }
.kd .told { margin: 2px 0 0; padding-left: 1.2rem; font-size: .92rem; }
.kd .target { display: flex; flex-direction: column; gap: 4px; }
.kd .target + .target { margin-top: 12px; }
.kd .target p { display: flex; flex-wrap: wrap; gap: 2px 8px; align-items: baseline; margin: 0; }
.kd .target b { font-variant-numeric: tabular-nums; font-weight: 700; }
.kd .unit { font-weight: 700; }
.kd .span { position: relative; height: 18px; margin: 8px 0 2px; }
.kd .span u, .kd .span i { position: absolute; min-width: 3px; border-radius: 99px; }
.kd .span u { top: 7px; height: 4px; background: var(--border-color-primary); }
.kd .span i { top: 3px; height: 12px; background: var(--kd-figure); opacity: .35; }
.kd .span b { position: absolute; top: 0; width: 4px; margin-left: -2px; height: 18px; border-radius: 2px; background: var(--kd-figure); }
.kd .span em, .kd .truth em { width: 11px; height: 11px; background: var(--kd-truth); transform: rotate(45deg);
  border: 2px solid var(--block-background-fill); }
.kd .span em { position: absolute; top: 3px; margin-left: -5px; }
.kd .target .truth { flex-wrap: nowrap; gap: 8px; align-items: center; }
.kd .truth em { flex: none; }
.kd .ends { position: relative; height: 1.5em; text-align: center; font-variant-numeric: tabular-nums; }
.kd .ends span:not(.middle) { position: absolute; }
.kd .middle { text-align: center; }
.kd .warned { border: 1px solid var(--kd-warning); border-radius: 10px; padding: 8px 14px; }
.kd .warned ul { margin: 2px 0; padding-left: 1.2rem; font-size: .9rem; }
.kd select, .kd .field input[type=number] { width: 100%; min-width: 0; padding: 5px 9px; margin: 0; font: inherit; font-size: .92rem;
  color: inherit; border-radius: 8px; background: var(--input-background-fill); border: 1px solid var(--border-color-primary); }
.kd select { appearance: none; padding-right: 28px; background:
  linear-gradient(45deg, transparent 50%, currentColor 50%) calc(100% - 16px) 55% / 5px 5px no-repeat,
  linear-gradient(-45deg, transparent 50%, currentColor 50%) calc(100% - 11px) 55% / 5px 5px no-repeat, var(--input-background-fill); }
.dark .kd .field input { color-scheme: dark; }
.kd .ends span, .kd .field > span { color: inherit; }
.kd .field input[aria-invalid=true] { border: 2px solid var(--kd-warning); }
.kd .fields { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(140px, 100%), 1fr)); gap: 14px 18px; padding: 4px 2px; }
.kd .fields .start { grid-column: 1 / -1; display: grid; grid-template-columns: max-content 1fr; gap: 12px; align-items: center; }
.kd .field { display: grid; grid-template-columns: 1fr 1fr; gap: 2px 8px; align-content: end; align-items: center; min-width: 0; }
.kd .field > :not(span) { grid-column: 1 / -1; margin: 0; }
.kd .field label, .kd .start label { font-size: .88rem; font-weight: 700; line-height: 1.25; overflow-wrap: anywhere; }
.kd .field label .soft { font-weight: 400; }
.kd .field input[type=range] { width: 100%; accent-color: var(--primary-600); cursor: pointer; }
.kd .field > span { font-size: .76rem; line-height: 1.1; font-variant-numeric: tabular-nums; }
.kd .field > span + span { text-align: right; }
.kd .field.outside input[type=number] { border: 2px solid var(--kd-warning); }
.kd .mini { display: none; }
@media (max-width: 640px) { .kd .fields .mini:not(:empty) { display: block; position: sticky; top: 0; z-index: 3; grid-column: 1 / -1;
  padding: 7px 12px; border-radius: 10px; font-weight: 700; font-size: .9rem; font-variant-numeric: tabular-nums;
  background: var(--block-background-fill); border: 1px solid var(--kd-figure); box-shadow: var(--shadow-drop); } }
.kd .card.effect-of { flex-direction: row; align-items: center; gap: 12px; border-radius: 14px 14px 0 0; border-bottom: 0; box-shadow: none;
  padding-bottom: 4px; }
.kd .effect-of h2 { white-space: nowrap; margin: 0; }
.kd .card.effect { border-radius: 0 0 14px 14px; border-top: 0; padding-top: 6px; box-shadow: none; }
#effect-of:has(.card) { margin-bottom: calc(-1 * var(--layout-gap)); }
.kd .effect figure { text-align: left; }
.kd .effect figure + figure { margin-top: 14px; }
.kd figcaption { font-weight: 700; }
.kd .said figcaption, .kd .both figcaption { font-weight: 400; }
.kd .plot .area { position: relative; height: 210px; margin: 6px 8px 22px 52px; border-left: 1px solid var(--border-color-primary);
  border-bottom: 1px solid var(--border-color-primary); }
.kd .plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.kd .plot polygon { fill: var(--kd-figure); opacity: .18; }
.kd .plot polyline { fill: none; stroke: var(--kd-figure); stroke-width: 2.5; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.kd .plot line { stroke: var(--border-color-primary); stroke-width: 1; vector-effect: non-scaling-stroke; }
.kd .plot rect { fill: var(--kd-warning); opacity: .13; }
.kd .plot .own { position: absolute; top: 0; bottom: 0; width: 0; border-left: 1.5px dashed var(--body-text-color-subdued); }
.kd .plot b { position: absolute; width: 13px; height: 13px; margin: -6.5px 0 0 -6.5px; border-radius: 99px; background: var(--kd-figure);
  border: 2px solid var(--block-background-fill); }
.kd .plot .x, .kd .plot .y { position: absolute; font-size: .76rem; line-height: 1; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.kd .plot .y { right: calc(100% + 6px); transform: translateY(-50%); }
.kd .plot .x { top: calc(100% + 6px); transform: translateX(-50%); }
.kd .words ul { list-style: none; margin: 6px 0 0; padding: 0; }
.kd .words li { display: grid; grid-template-columns: 1fr max-content; margin: 0; font-size: .92rem; overflow-wrap: anywhere; }
.kd .words li.now { font-weight: 700; }
.kd .words .span { grid-column: 1 / -1; margin: 0 0 6px; }
.kd .scroll.rows td { white-space: nowrap; font-variant-numeric: tabular-nums; min-width: 0; }
.kd .scroll.rows td:last-child { white-space: normal; min-width: 9rem; }
.kd .scroll.rows .problem td { background: color-mix(in srgb, var(--kd-warning) 12%, transparent); }
.kd .bars { list-style: none; margin: 6px 0 0; padding: 0; display: grid; gap: 8px; }
.kd .bars li { display: grid; grid-template-columns: 1fr max-content; gap: 3px 12px; margin: 0; font-size: .95rem;
  overflow-wrap: anywhere; }
.kd .bars li span + span { font-variant-numeric: tabular-nums; }
.kd .bars i { grid-column: 1 / -1; height: 5px; min-width: 2px; border-radius: 99px; background: var(--kd-figure); transition: width .25s; }
.live { position: relative; }
.live [data-testid="status-tracker"] { display: none; }  /* its running seconds would be read aloud */
.live .pending .card { opacity: .55; transition: opacity .2s .3s; }
.live .pending::before { content: ""; position: absolute; z-index: 1; top: 0; left: 14px; right: 14px; height: 3px; border-radius: 99px;
  background: linear-gradient(90deg, transparent, var(--kd-figure), transparent) 0 / 40% 100% no-repeat;
  animation: kd-wait 1.1s .3s infinite both; }
@keyframes kd-wait { from { background-position: -70% 0; } to { background-position: 170% 0; } }
.kd .scroll { overflow: auto; max-height: 340px; border: 1px solid var(--border-color-primary); border-radius: 10px;
  background: var(--block-background-fill); }
.kd table { width: 100%; margin: 0; border-collapse: collapse; font-size: .86rem; }
.kd :is(th, td) { padding: 6px 10px; text-align: left; vertical-align: top; border: 0;
  border-bottom: 1px solid var(--border-color-primary); }
.kd td:first-child { overflow-wrap: anywhere; min-width: 7rem; }
.kd th { position: sticky; top: 0; background: var(--background-fill-secondary); }
.kd .examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(68px, 1fr)); gap: 8px; margin-top: 8px; }
.kd .examples button { display: grid; gap: 4px; justify-items: center; padding: 6px 3px; margin: 0; max-width: 96px;
  min-width: 0; cursor: pointer;
  font-size: .76rem; font-weight: 400; color: inherit; background: var(--block-background-fill);
  border: 1px solid var(--border-color-primary); border-radius: 10px; }
.kd .examples button:hover { border-color: var(--color-accent); }
.kd .examples img { width: 58px; height: 58px; margin: 0 !important; border-radius: 6px; }
.kd .examples span { margin: 0; max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.kd details { border-top: 1px solid var(--border-color-primary); padding-top: 8px; min-width: 0; }
.kd summary { cursor: pointer; font-weight: 700; font-size: .92rem; }
.kd .program { position: relative; }
.kd pre { background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); border-radius: 10px;
  padding: 12px 14px; overflow-x: auto; font-family: var(--font-mono); font-size: .8rem; line-height: 1.5; margin: 8px 0 4px; }
.kd pre code { background: none; border: 0; padding: 0; font: inherit; color: inherit; white-space: pre; }
.kd .copy { position: absolute; top: -33px; right: 0; padding: 2px 10px; font-size: .78rem; border-radius: 7px; cursor: pointer;
  background: var(--block-background-fill); border: 1px solid var(--border-color-primary); color: var(--body-text-color); }
.kd .copy:hover { border-color: var(--color-accent); }
@media (prefers-reduced-motion: reduce) { .kd *, .live *, .gradio-container button {
  transition: none !important; animation: none !important; } }
.broken-picture { visibility: hidden; }
.small-picture { image-rendering: pixelated; }
#picture .image-frame img { width: 100%; height: 100%; object-fit: contain; }
.kd h2.above { font-size: .95rem; margin: 0; }
"""

# Copy buttons; the words of a caption, each with where the network looked; the threshold of a match; on a phone the answer above the
# sliders; live regions, which must be there before their words; small pictures as squares; and what gradio's own markup lacks: a name for
# the button around a picture, no button inside the button that a message's head would be, no tab that controls nothing.
# The links above every page lie outside of what `css` reaches; on a phone they would take three lines.
HEAD = """<style>@media (max-width: 640px) {
  .nav-holder nav { justify-content: center !important; gap: 2px 4px !important; padding: 0 6px !important; font-size: .86rem; }
  .nav-holder nav a { padding: 5px 7px !important; line-height: 1.3; } }</style>
<script>{
  const copy = async (words) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(words);
    const area = Object.assign(document.createElement('textarea'), {value: words});
    document.body.append(area); area.select(); document.execCommand('copy'); area.remove();
  };
  document.addEventListener('click', async (event) => {
    const button = event.target.closest('.kd .copy');
    if (!button) return;
    await copy(button.parentElement.querySelector('code').textContent);
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
  document.addEventListener('load', ({target}) => {
    if (target.tagName !== 'IMG') return;
    target.classList.toggle('small-picture', target.naturalWidth <= 128);
    target.classList.remove('broken-picture');
  }, true);
  document.addEventListener('error', ({target}) => {
    if (target.tagName === 'IMG') target.classList.add('broken-picture');
  }, true);
  const look = (card, number) => {
    for (const one of card.querySelectorAll('[data-word]')) one.classList.toggle('now', one.dataset.word === String(number));
  };
  const chosen = (card) => card.querySelector('input[type=range]')?.value ?? 0;
  const choose = (card, number) => {
    const slider = card.querySelector('input[type=range]'), word = card.querySelector(`.sentence [data-word="${number}"]`);
    slider.value = number;
    slider.setAttribute('aria-valuetext', word ? word.textContent : 'the whole picture');
    look(card, number);
  };
  const spoken = (name, selector, act) => document.addEventListener(name, ({target}) => {
    const found = target.closest?.(`.kd .spoken ${selector}`);
    if (found) act(found.closest('.spoken'), found);
  });
  spoken('input', 'input[type=range]', (card, slider) => choose(card, slider.value));
  spoken('click', '.sentence [data-word]', (card, word) => choose(card, word.dataset.word));
  spoken('pointerover', '.sentence [data-word]', (card, word) => look(card, word.dataset.word));
  spoken('pointerout', '.sentence [data-word]', (card) => look(card, chosen(card)));
  const percent = (share) => `${Number((100 * share).toPrecision(3))}\u00a0%`;
  const write = (part, words) => { if (part && part.textContent !== words) part.textContent = words; };
  const judge = () => {
    const panel = document.querySelector('.kd .threshold');
    if (!panel) return;
    const slider = panel.querySelector('input[type=range]'), place = Number(slider.value);
    const [least, far, tpr] = JSON.parse(panel.dataset.points)[place];
    slider.setAttribute('aria-valuetext', `similarity ${least.toFixed(3)}, TPR ${percent(tpr)}, FAR ${percent(far)}`);
    write(panel.querySelector('.least'), least.toFixed(3));
    write(panel.querySelector('.tpr'), percent(tpr));
    write(panel.querySelector('.far'), percent(far));
    for (const mark of panel.querySelectorAll('[data-point]')) {
      mark.classList.toggle('now', mark.dataset.point === slider.value);
      mark.setAttribute('aria-pressed', String(mark.dataset.point === slider.value));
    }
    for (const card of document.querySelectorAll('.kd .matched:not(.undecided)')) {
      const hits = [...card.querySelectorAll('[data-similarity]')];
      for (const hit of hits) hit.classList.toggle('match', Number(hit.dataset.similarity) >= least);
      card.classList.toggle('found', hits.some((hit) => hit.classList.contains('match')));
      write(card.querySelector('.expected'), (far * Number(card.dataset.pictures)).toFixed(1));
      const box = card.querySelector('.looked');
      if (box && !box.dataset.known) Object.assign(box, {checked: looking}).dataset.known = 'yes';
    }
  };
  let looking = false;
  document.addEventListener('change', ({target}) => { if (target.matches?.('.kd .looked')) looking = target.checked; });
  document.addEventListener('input', ({target}) => { if (target.matches?.('.kd .threshold input[type=range]')) judge(); });
  document.addEventListener('click', ({target}) => {
    const mark = target.closest?.('.kd .threshold [data-point]');
    if (!mark) return;
    mark.closest('.threshold').querySelector('input[type=range]').value = mark.dataset.point;
    judge();
  });
  const mend = () => {
    judge();
    write(document.querySelector('.kd .fields .mini'), document.querySelector('#answer .predicted')?.dataset.short ?? '');
    for (const region of document.querySelectorAll('.live:not([role])'))
      Object.entries({'role': 'status', 'aria-live': 'polite', 'aria-atomic': 'true'}).forEach(pair => region.setAttribute(...pair));
    for (const region of document.querySelectorAll('.live')) {
      const busy = String(region.querySelector('.pending') !== null);
      if (region.getAttribute('aria-busy') !== busy) region.setAttribute('aria-busy', busy);
    }
    for (const button of document.querySelectorAll('button:not([aria-label])'))
      if (!button.textContent.trim() && button.querySelector('img')) button.setAttribute('aria-label', 'Enlarge the picture');
    for (const head of document.querySelectorAll('.toast-header[role]')) ['role', 'tabindex'].forEach(name => head.removeAttribute(name));
    for (const tab of document.querySelectorAll('[role=tab][aria-controls=""]')) tab.removeAttribute('aria-controls');
  };
  new MutationObserver(mend).observe(document.documentElement, {childList: true, subtree: true, attributeFilter: ['class']});
}</script>"""
