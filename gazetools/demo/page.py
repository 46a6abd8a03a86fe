"""The demo's report as one HTML page: the answer, the overlay video, charts, findings and every command."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gazetools._version import __version__
from gazetools.demo.answer import controls_sentence, headline, sentence
from gazetools.demo.commands import StepResult
from gazetools.demo.plan import PRIMARY_ARM
from gazetools.html.charts import CHART_STYLE, COLOURS, IntervalMark, Line, forest, lines
from gazetools.html.frame import filled, html_page
from gazetools.io.atomic import write_bytes_atomic
from gazetools.schemas.errors import DataFileError

_ARM_TEXTS = {
    "none": "V-JEPA 2's predictor, no heatmap",
    "zeros": "the heatmap part, fed with empty maps",
    "shuffled": "maps of another video's clip",
    "estimated": "maps that the gaze model made of the video",
    "ground_truth": "maps of the true gaze targets",
}


def write_page(path: Path, folder: Path, document: Mapping[str, Any], steps: Sequence[StepResult]) -> None:
    """Commit the page at `path`; `folder` has overlay.mp4 and run/metrics.jsonl, `document` is result.json's."""
    arms = document["arms"]
    contrasts = {name: _estimate(arm["minus_none"]) for name, arm in arms.items() if "minus_none" in arm}
    losses, recalls = _curves(folder / "run" / "metrics.jsonl", list(arms))
    body = filled(
        _BODY,
        version=__version__,
        answer=document,
        good=document["low"] > 0,
        headline=headline(document),
        sentence=sentence(document),
        controls=controls_sentence(document),
        video=base64.b64encode((folder / "overlay.mp4").read_bytes()).decode(),
        forest=forest(
            contrasts,
            unit="points of recall against none, 95 % interval",
            strong=PRIMARY_ARM,
            colours=dict(zip(arms, COLOURS, strict=False)),
        ),
        horizons=_horizon_chart(document),
        losses=lines(losses, x_label="epoch", y_label="training loss"),
        recalls=lines(
            recalls, x_label="epoch", y_label="recall on unseen kitchens (%)", level=("chance", document["chance"])
        ),
        primary_arm=PRIMARY_ARM,
        arms=[(name, _ARM_TEXTS[name], arm) for name, arm in arms.items()],
        checks=[
            (step.title, step.document["summary"], [f for f in step.document["findings"] if f["severity"] != "note"])
            for step in steps
            if "findings" in step.document
        ],
        commands=list(zip(document["commands"], document["seconds"].values(), strict=True)),
        total=document["total_seconds"],
    )
    title, style = "gazetools demo: does gaze tell the next action?", f"{_STYLE}\n{CHART_STYLE}"
    page = html_page(title=title, style=style, body=body, with_video=True)
    write_bytes_atomic(path, page.encode())


def _estimate(row: Mapping[str, float]) -> IntervalMark:
    return IntervalMark(value=row["difference"], low=row["low"], high=row["high"])


def _horizon_chart(document: Mapping[str, Any]) -> str:
    series = {}
    for arm in document["arms"]:
        rows = sorted((r for r in document["horizons"] if r["arm"] == arm), key=lambda r: r["seconds"])
        points = [(r["seconds"], r["recall@1"]) for r in rows]
        series[arm] = Line(points=points, bars=[(r["low"], r["high"]) for r in rows])
    return lines(
        series,
        x_label="seconds before the action",
        y_label="recall of the object (%)",
        level=("chance", document["chance"]),
    )


def _curves(path: Path, arms: Sequence[str]) -> tuple[dict[str, Line], dict[str, Line]]:
    """(training loss, validation recall) of each arm by epoch, means over its seeds."""
    try:
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataFileError(f"Cannot read the training's metrics {path}: {error}.") from error
    found: tuple[dict[str, Line], dict[str, Line]] = ({}, {})
    for series, ending in zip(found, ("train_loss", "val_start_action_top1"), strict=True):
        for arm in arms:
            names = [n for n in entries[0] if n.endswith(f"/{ending}") and n.split("/")[0].split(".s")[0] == arm]
            points = [(e["epoch"], sum(e[n] for n in names) / len(names)) for e in entries if names]
            if points:
                series[arm] = Line(points=points)
    return found


_STYLE = """\
:root { --ink:#17212b; --soft:#5a6672; --line:#dde3e9; --back:#f4f6f8; --card:#fff; --good:#00704d; --open:#9a5b00 }
* { box-sizing:border-box }
body { margin:0; background:var(--back); color:var(--ink); font:16px/1.5 system-ui,"Segoe UI",Roboto,sans-serif }
main { max-width:1120px; margin:0 auto; padding:32px 20px 64px }
h1 { font-size:28px; line-height:1.2; margin:0 0 6px } h2 { font-size:18px; margin:0 0 8px }
.soft { color:var(--soft) } .small { font-size:14px }
.answer { background:var(--card); border-left:6px solid var(--open); border-radius:8px;
  padding:18px 22px; margin:22px 0 }
.answer.good { border-color:var(--good) } .answer b.big { display:block; font-size:22px; line-height:1.3 }
.answer p { margin:8px 0 0 }
.grid { display:grid; grid-template-columns:repeat(2,minmax(0,1fr)); gap:18px }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:18px; min-width:0 }
.wide { grid-column:1/-1 }
.scene { display:grid; grid-template-columns:minmax(0,3fr) minmax(0,2fr); gap:20px; align-items:center }
video { width:100%; display:block; border-radius:8px; background:#111 }
.scroll { overflow-x:auto }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; font-size:15px }
th,td { padding:6px 12px 6px 0; border-bottom:1px solid var(--line); text-align:right; vertical-align:top }
th:first-child,td:first-child { text-align:left }
td.left, th.left { text-align:left }
tr.strong td { font-weight:700 }
code { font:13px/1.45 ui-monospace,Consolas,monospace; overflow-wrap:anywhere }
.ok { color:var(--good); font-weight:700 } .found { color:var(--open); font-weight:700 }
footer { margin-top:24px }
@media (max-width:760px) {
  main { padding:20px 12px 40px } h1 { font-size:23px } .grid,.scene { grid-template-columns:minmax(0,1fr) }
  .answer { padding:14px 16px } .answer b.big { font-size:19px } .card { padding:14px }
}"""
_BODY = """<main>
<h1>Does seeing where a person looks tell what they will do next?</h1>
<div class="soft">A whole experiment on synthetic kitchens, made by <code>gazetools demo</code> {{ version }} in
{{ "%.0f"|format(total) }} s{% if answer.resumed %} (this call; an earlier one had begun){% endif %}.</div>
<div class="answer{{ ' good' if good }}"><b class="big">{{ headline }}</b>
<p>{{ sentence }}</p>
<p class="soft">{{ controls }}</p></div>

<div class="grid">
<section class="card wide scene">
<video src="data:video/mp4;base64,{{ video }}" autoplay muted loop playsinline controls></video>
<div><h2>What the gaze model sees</h2>
<p>A rendered clip that no training has seen. Boxes are the heads given to the model; the glow is its heatmap, the cross
its peak, the number how sure it is that the target lies in the frame.</p>
<p class="soft small">In these scenes people look at an object for about two seconds before their hand takes it, mostly:
gaze leads in {{ "%.0f"|format(answer.plan.scenes.p_gaze_precedes * 100) }} % of the actions and misleads in
{{ "%.0f"|format(answer.plan.scenes.p_misleading * 100) }} %, so even perfect eyes reach
{{ "%.0f"|format(answer.achievable) }} %. Guessing gives {{ "%.1f"|format(answer.chance) }} %.</p></div>
</section>
<section class="card"><h2>Gain of each arm</h2>{{ forest|safe }}
<p class="soft small">Intervals resample whole videos. Only what can tell gaze should lie right of zero.</p></section>
<section class="card"><h2>How early</h2>{{ horizons|safe }}</section>
<section class="card"><h2>Training</h2>{{ losses|safe }}</section>
<section class="card"><h2>Kitchens that training never saw</h2>{{ recalls|safe }}</section>
<section class="card wide"><h2>Arms</h2><div class="scroll"><table>
<tr><th>arm</th><th class="left">what the predictor sees</th><th>recall@1</th>
<th>95 % interval</th><th>p against none</th></tr>
{% for name, text, arm in arms %}
<tr{{ ' class=strong' if name == primary_arm }}><td>{{ name }}</td><td class="left">{{ text }}</td>
<td>{{ "%.1f"|format(arm.recall) }}</td>
<td>{{ "%.1f"|format(arm.low) }} – {{ "%.1f"|format(arm.high) }}</td>
<td>{% if arm.minus_none is defined %}{{ "%.3f"|format(arm.minus_none.p) }}{% endif %}</td></tr>
{% endfor %}</table></div>
<p class="soft small">All arms share video, encoder pass, order and budget; each is the mean of
{{ answer.seeds|length }} seed{{ 's' if answer.seeds|length > 1 }}. Weights are those of the epoch that did best on
clips held out of training, so recall may differ from where the curves end. Full tables:
<code>report/report.html</code>.</p></section>
<section class="card wide"><h2>Checked before training</h2>
{% for title, summary, findings in checks %}
<p>{% if findings %}<span class="found">{{ findings|length }} finding{{ 's' if findings|length > 1 }}</span>
{% else %}<span class="ok">✓ no findings</span>{% endif %} — {{ title }}: {{ summary.videos }} videos,
{{ "{:,}".format(summary.maps) }} maps, {{ summary.videos_decoded }} decoded again and compared frame by frame.</p>
{% if findings %}<ul>{% for f in findings[:10] %}
<li><code>{{ f.code }}</code> {{ f.video_id or '' }}: {{ f.message }}</li>
{% endfor %}</ul>{% endif %}
{% endfor %}</section>
<section class="card wide"><h2>Every step, to repeat by hand</h2><div class="scroll"><table>
<tr><th>command</th><th>seconds</th></tr>
{% for command, seconds in commands %}<tr><td><code>{{ command }}</code></td><td>{{ "%.1f"|format(seconds) }}</td></tr>
{% endfor %}</table></div></section>
</div>
<footer class="soft small">The world is drawn, the video encoder is a small frozen random one, and only the predictor
and its probe learn: this shows that every stage does what it claims, not how large the gain is on real video.</footer>
</main>"""
