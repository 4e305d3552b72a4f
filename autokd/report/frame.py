"""What stands around the sections: where the study came from, and the file itself with its policy,
style and scripts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from autokd.report.charts import DARK
from autokd.report.parts import esc
from autokd.report.study_data import StudyData, setting


def provenance(study: StudyData) -> str:
    created = study.table.created
    began = (
        datetime.fromtimestamp(created["t"], UTC).strftime("%Y-%m-%d %H:%M UTC") if created else "?"
    )
    data = sorted({str(t.facts["data"]) for t in study.trials if t.facts.get("data")})
    names = sorted({str(setting(t, "data/name")) for t in study.trials})
    parts = [
        f"Study {study.name}",
        f"begun {began}",
        f"sampler {study.search.sampler}, seed {created.get('seed', '?')}",
    ]
    parts += [f"data {', '.join(names)} {', '.join(data)}".strip()]
    parts += [f"{k} {v}" for k, v in created.get("versions", {}).items()]
    return f"<footer>{esc(' · '.join(parts))}</footer>"


def sections(parts: Mapping[str, str]) -> str:
    """Title → content, as HTML, each under a heading that can be linked to, behind a list of
    links.
    """
    names = {title: re.sub(r"[^a-z]+", "-", title.lower()).strip("-") for title in parts}
    links = "".join(f'<a href="#{names[title]}">{esc(title)}</a>' for title in parts)
    return f'<nav class="screen" aria-label="Sections">{links}</nav>' + "".join(
        f'<section id="{names[title]}"><h2><a href="#{names[title]}">{esc(title)}</a></h2>'
        f"{content}</section>"
        for title, content in parts.items()
    )


def document(name: str, body: str) -> str:
    """The whole file. Its policy: nothing is fetched, and of scripts only these two, told by their
    hashes, run.
    """
    from plotly.offline import get_plotlyjs

    library = re.sub(r"//# sourceMappingURL=\S*", "", get_plotlyjs()).strip()
    style, script = _beside("page.css"), _beside("page.js")
    policy = f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; "
    policy += (
        "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none';"
        " form-action 'none'"
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        '<link rel="icon" href="data:,">'
        f"<title>{esc(name)} · AutoKD</title><style>{style}</style></head>\n"
        f"<body><main>{body}</main>"
        "<noscript><p>The charts need JavaScript; the tables do not.</p></noscript>\n"
        f'<script type="application/json" id="dark">{json.dumps(DARK)}</script>\n'
        f"<script>{library}</script>\n"
        f"<script>{script}</script></body></html>\n"
    )


def _beside(file: str) -> str:
    """A file of this package, from a new line on."""
    return "\n" + Path(__file__).with_name(file).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """As a Content-Security-Policy names a script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
