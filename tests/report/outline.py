"""A page's HTML as its reader sees it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any


class Outline(HTMLParser):
    """Tags with their attributes, the text of each kind of element, and what script elements
    hold.
    """

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.scripts: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "img"}:
            self.stack.append(tag)
        if tag in {"h1", "td", "li"}:
            self.text.setdefault(tag, []).append("")
        if tag == "script":
            self.scripts.append((dict(attrs).get("type") or "", ""))

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        for tag in {"h1", "td", "li"} & set(self.stack):
            self.text[tag][-1] += data

    @property
    def charts(self) -> list[dict[str, Any]]:
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]


def _strings(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in _strings(v, k)]
    if isinstance(value, list):
        return [s for v in value for s in _strings(v, key)]
    assert key not in {"hovertemplate", "texttemplate"}, "a template would fill in what users wrote"
    return [value] if isinstance(value, str) else []
