"""``docs/REFERENCE.md`` and ``docs/COMMANDS.md``, written from the schemas that check documents and
from the commands' own help. ``python docs/reference.py`` rewrites them. Light.

A test compares, so neither falls behind the code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from autokd.cli.app import app
from autokd.cli.helping import EXAMPLES
from autokd.space.schemas import schema

DOCS = Path(__file__).parent
Schema = Mapping[str, Any]

INTRO = """# Every YAML key

A recipe says how one student is trained; a search space says which parts of a recipe are free, and
how to look. This page lists every key of both, as the program itself checks them. In an editor that
completes YAML, `autokd schema recipe` and `autokd schema space` give the same as JSON schemas.
Keys that are left out have the default.

"""
VARY = """
Under `vary:` each key is a path in the recipe, such as `distill/temperature/tau`, and its value
says what may stand there:

| form | draws |
|---|---|
| `{uniform: [1, 16]}` | a number between both ends |
| `{log_uniform: [1e-4, 1e-1]}` | a number, evenly on a logarithmic scale |
| `{int_uniform: [1, 8]}` | a whole number, both ends included |
| `{choice: [a, b, c]}` | one of the list |
| `{one_of: [{kind: a, …}, {kind: b, …}]}` | one of the blocks, each with free values of its own |

"""


def pages() -> dict[str, str]:
    """File name → Markdown."""
    return {"REFERENCE.md": reference().replace("``", "`"), "COMMANDS.md": commands()}


# ---------------------------------------------------------------- YAML


def reference() -> str:
    recipe, space = schema("recipe"), schema("space")
    parts = [INTRO, "## Recipe\n\n"]
    for key, node in recipe["properties"].items():
        if key != "distill":
            parts += _block(recipe, key, node, 3)
    parts.append("### `distill`\n\nOne method an axis, or a `preset` that sets several.\n\n")
    for axis, node in recipe["properties"]["distill"]["properties"].items():
        parts += _axis(recipe, axis, node)
    parts.append("## Search space\n\n")
    for key, node in space["properties"].items():
        parts += _block(space, key, node, 3)
        parts += [VARY] if key == "vary" else []
    return "".join(parts).rstrip() + "\n"


def _block(root: Schema, path: str, node: Schema, level: int) -> Iterator[str]:
    """A key with what stands below it, nested blocks after it."""
    inner = _resolved(root, node)
    about = "\n\n".join(
        filter(None, dict.fromkeys([node.get("description"), inner.get("description")]))
    )
    yield f"{'#' * level} `{path}`\n\n"
    yield f"{about}\n\n" if about else ""
    if "properties" not in inner:
        kind = [_kind(root, node), _default(node)]
        yield f"{', default '.join(filter(None, kind))}.\n\n"
        return
    blocks = {}
    rows = []
    for key, own in inner["properties"].items():
        below = _resolved(root, own)
        if "properties" in below:
            blocks[f"{path}/{key}"] = own
            rows.append([f"`{key}`", "block, below", "", own.get("description", "")])
        else:
            rows.append([f"`{key}`", _kind(root, own), _default(own), own.get("description", "")])
    yield _table(["key", "what", "default", ""], rows)
    for key, own in blocks.items():
        yield from _block(root, key, own, min(level + 1, 5))


def _axis(root: Schema, axis: str, node: Schema) -> Iterator[str]:
    yield f"#### `distill/{axis}`\n\n"
    if "enum" in node:
        yield "One of " + ", ".join(f"`{name}`" for name in node["enum"]) + ".\n\n"
        return
    methods = node.get("oneOf") or [
        {"title": kind, **own} for kind, own in node["properties"].items()
    ]
    names = list(node.get("properties", {}))
    for i, method in enumerate(methods):
        kind = names[i] if names else method["properties"]["kind"]["const"]
        first = (method.get("description") or "").split("\n\n")[0].replace("``", "`")
        where = f"`{kind}`" if names else f"`{{kind: {kind}}}`"
        yield f"**{where}**: {first}\n\n"
        own = {k: v for k, v in method["properties"].items() if k != "kind"}
        rows = [
            [f"`{k}`", _kind(root, v), _default(v), v.get("description", "")]
            for k, v in own.items()
        ]
        yield _table(["key", "what", "default", ""], rows) if rows else ""


def _resolved(root: Schema, node: Schema) -> Schema:
    """Through references, and the one block among alternatives with null."""
    if "$ref" in node:
        return root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    blocks = [one for one in node.get("anyOf", []) if "$ref" in one]
    return _resolved(root, blocks[0]) if len(blocks) == 1 else node


def _kind(root: Schema, node: Schema) -> str:
    """What may stand there, in words."""
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if "enum" in node:
        names = [f"`{v}`" for v in node["enum"]]
        return ", ".join(names) if len(names) <= 12 else f"one of {len(names)} names"
    for several in ("anyOf", "oneOf"):
        if several in node:
            return " or ".join(dict.fromkeys(_kind(root, one) for one in node[several]))
    if "$ref" in node:
        return "block"
    kind = str(node.get("type", "anything"))
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true or false",
        "array": "list",
        "object": "block",
        "null": "nothing",
    }
    bounds = [
        f"{sign} {node[key]:g}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in node
    ]
    told = words.get(kind, kind) + (f" {', '.join(bounds)}" if bounds else "")
    return f"list of: {_kind(root, node['items'])}" if kind == "array" and "items" in node else told


def _default(node: Schema) -> str:
    if "default" not in node or node["default"] is None:
        return ""
    return f"`{json.dumps(node['default'])}`"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    clean = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in clean) + "\n"


# ---------------------------------------------------------------- commands


def commands() -> str:
    parts = [
        "# Command line\n\nEvery command, as `autokd COMMAND --help` tells it. Results go to"
        " standard output, progress to standard error. Exit codes: 0 done; 1 the work ran and its"
        " answer is no; 2 the request is wrong; 130 interrupted.\n\n"
    ]
    group = typer.main.get_command(app)
    for name in sorted(group.commands):
        command = group.commands[name]
        if not command.hidden:
            parts += _command(name, command)
    return "".join(parts).rstrip() + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    about = command.help or ""
    yield f"## autokd {name}\n\n{' '.join(about.split())}\n\n"
    rows = []
    for p in command.params:
        if getattr(p, "hidden", False) or p.name == "help":
            continue
        option = p.param_type_name == "option"
        word = (
            ", ".join(f"`{o}`" for o in p.opts) if option else f"`{(p.metavar or p.name).upper()}`"
        )
        rows.append([word, getattr(p, "help", "") or ""])
    yield _table(["", ""], rows) if rows else ""
    longest = max(len(typed) for typed, _ in EXAMPLES[name])
    lines = [f"{typed:{longest}}  # {what}" for typed, what in EXAMPLES[name]]
    yield "\n".join(["```text", *lines, "```"]) + "\n\n"


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
