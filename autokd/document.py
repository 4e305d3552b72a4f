"""YAML in, plain Python out, with the line of every value: the one way a document enters AutoKD.

Documents are data. No tags, no anchors, no duplicate keys, no file above 1 MB; ``1e-4`` is a number and ``no`` is a word
(YAML 1.2). Everything wrong with a document is a :class:`Problem`; they are raised together in one :class:`DocumentError`.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

MAX_BYTES = 1_000_000
MAX_DEPTH = 40  # levels; our own documents have seven
MAX_NUMBER = 2**63  # whole numbers beyond it fit no seed and no float
PLAIN = {"null", "bool", "int", "float", "str", "seq", "map"}
LOGGED = re.compile(r"(?:runs:/|mlflow:)([0-9a-zA-Z_-]{1,64})(?:/recipe\.yaml)?")  # a recipe that MLflow holds, by its run
Keys = tuple[str | int, ...]


class UserError(ValueError):
    """The request cannot be met as it stands. The message is all that the user sees."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one place of one document."""

    file: str
    line: int
    path: str
    rule: str
    value: Any = None
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        parts = [": ".join(filter(None, [where, _clipped(self.path, 200), _clipped(self.rule, 400)]))]
        if self.value is not None:
            parts.append(f"got {_short(self.value)}")
        if self.hint:
            parts.append(self.hint)
        return "; ".join(parts)


class DocumentError(UserError):
    """All the problems of a document, one line each."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = sorted(set_in_order(problems), key=lambda p: (p.file, p.line))
        super().__init__("\n".join(str(p) for p in self.problems))


@dataclass
class Document:
    """A parsed file: plain ``data``, and for every path of keys the line it stands on, or the option that gave it instead of the file."""

    data: dict[str, Any]
    file: str = "<built in>"
    lines: dict[Keys, int] = field(default_factory=dict)
    options: dict[Keys, str] = field(default_factory=dict)

    def line(self, path: str | Keys) -> int:
        """The line of ``a/b/c``, or of the nearest parent that the file does have."""
        keys = split(path) if isinstance(path, str) else path
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 1)

    def problem(self, path: str, rule: str, value: Any = None, hint: str = "", at: Keys | None = None) -> Problem:
        keys = at if at is not None else split(path)
        if option := self.option(keys):
            return Problem(option, 0, path, rule, value, hint)
        return Problem(self.file, self.line(keys), path, rule, value, hint)

    def option(self, path: str | Keys) -> str:
        """The option that gave what stands at this path; ``""`` where the file did."""
        keys = split(path) if isinstance(path, str) else path
        return next((self.options[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in self.options), "")


def set_in_order(items: Iterable[Any]) -> list[Any]:
    seen: dict[str, Any] = {}
    for item in items:
        seen.setdefault(str(item), item)
    return list(seen.values())


def split(path: str) -> Keys:
    """``ladder/0/model`` → ``("ladder", 0, "model")``."""
    return tuple(int(k) if re.fullmatch("0|[1-9][0-9]{0,8}", k) else k for k in path.split("/") if k)


def join(keys: Iterable[str | int]) -> str:
    return "/".join(str(k) for k in keys)


def nearest(name: Any, known: Iterable[str]) -> str:
    """``did you mean 'kl'?``, or the whole list where nothing is near and the list is short."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.55)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known and len(known) <= 25 else ""


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = _clipped(text, 80)
    return repr(text) if isinstance(value, str) else text


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def is_space(data: Mapping[str, Any]) -> bool:
    """Whether a document is a search space: by what only a search space has."""
    return not {"base", "vary", "search"}.isdisjoint(data)


def is_recipe(data: Mapping[str, Any]) -> bool:
    return not is_space(data)


def read(path: str | Path | Document, wanted: Callable[[Mapping[str, Any]], bool] | None = None) -> Document:
    """Read a YAML mapping from a file, or from an MLflow run (``runs:/ID``); one that is read already (a pipe can be once) is given back.

    ``wanted`` tells the documents that may be offered in place of a file that does not exist; all may where it is left out. Raises
    :class:`DocumentError`.
    """
    if isinstance(path, Document):
        return path
    if run := LOGGED.fullmatch(str(path)):
        from autokd.export import logged

        return logged(str(path), run[1])
    path = Path(path)
    file = str(path)
    try:
        with path.open("rb") as f:
            raw = f.read(MAX_BYTES + 1)  # never more, whatever size a device or a pipe says it has
        if len(raw) > MAX_BYTES:
            raise DocumentError([Problem(file, 0, "", f"larger than {MAX_BYTES:,} bytes; this is not a document of ours")])
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise DocumentError([Problem(file, 0, "", f"not UTF-8 text ({e.reason} at byte {e.start})")]) from None
    except OSError as e:
        hint = nearest(path.name, _beside(path, wanted)) if isinstance(e, FileNotFoundError) else ""
        raise DocumentError([Problem(file, 0, "", f"cannot be read: {e.strerror}", hint=hint)]) from None
    return parse(text, file)


def _beside(path: Path, wanted: Callable[[Mapping[str, Any]], bool] | None) -> list[str]:
    """The names of the documents in a missing file's folder; of those that are ``wanted``, only the nearest are looked into."""
    try:
        names = [p.name for p in path.parent.iterdir() if p.suffix in {".yaml", ".yml"} and p.is_file()]
    except OSError:
        return []
    if wanted is None:
        return names
    out = []
    for name in difflib.get_close_matches(path.name, names, n=25, cutoff=0.0):
        try:
            if wanted(read(path.parent / name).data):
                out.append(name)
        except DocumentError:
            continue
    return out


class _Composer(Composer):
    """Stops at the first value that lies too deep: the scanner takes minutes over a line of brackets, and the stack has an end."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.depth > MAX_DEPTH:
            raise ComposerError(None, None, f"nested more than {MAX_DEPTH} levels deep", self.parser.peek_event().start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse(text: str, file: str = "<text>") -> Document:
    """Parse YAML text to plain data with lines. Raises :class:`DocumentError`."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    problems: list[Problem] = []
    try:
        root = yaml.compose(StringIO(text))
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        rule = " ".join(str(part) for part in (e.context, e.problem) if part)
        raise DocumentError([Problem(file, mark.line + 1 if mark else 0, "", f"not valid YAML: {rule}")]) from None
    except ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        raise DocumentError([Problem(file, line, "", f"not valid YAML: {e.reason}")]) from None
    except Exception as e:  # what the composer itself trips over, such as an escape that is no character
        raise DocumentError([Problem(file, 0, "", f"not valid YAML: {' '.join(str(e).split())}")]) from None
    lines: dict[Keys, int] = {}
    seen: set[int] = set()

    def plain(node: Node, keys: Keys) -> Any:
        line = node.start_mark.line + 1
        lines.setdefault(keys, line)
        if id(node) in seen or node.anchor:
            problems.append(Problem(file, line, join(keys), "anchors and aliases are not used here: write the value out"))
            return None
        seen.add(id(node))
        if len(keys) > MAX_DEPTH:
            problems.append(Problem(file, line, join(keys), f"is nested more than {MAX_DEPTH} levels deep"))
            return None
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value
        if str(node.tag).removeprefix("tag:yaml.org,2002:") not in PLAIN:
            problems.append(Problem(file, line, join(keys), "tags are not used here", node.tag))
            return None
        if isinstance(node, ScalarNode):
            try:
                value = yaml.constructor.construct_object(node)
            except Exception as e:
                problems.append(Problem(file, line, join(keys), f"not a value: {e}", node.value))
                return None
            if rule := _unfit(value):
                problems.append(Problem(file, line, join(keys), rule, node.value))
            return value
        if isinstance(node, SequenceNode):
            return [plain(child, (*keys, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, MappingNode)
        out: dict[str, Any] = {}
        for key_node, child in node.value:
            key = str(key_node.value)
            if not isinstance(key_node, ScalarNode) or key == "<<" or "" in key.split("/") or _unfit(key):
                problems.append(Problem(file, key_node.start_mark.line + 1, join(keys), "a key is a plain word, or words with / between", key_node.value))
                continue
            if key in out:
                problems.append(Problem(file, key_node.start_mark.line + 1, join((*keys, key)), "is given twice"))
            child_keys = (*keys, *split(key)) if "/" in key else (*keys, key)
            lines.setdefault((*keys, key), key_node.start_mark.line + 1)
            lines[child_keys] = key_node.start_mark.line + 1
            out[key] = plain(child, child_keys)
        return out

    if root is None:
        raise DocumentError([Problem(file, 0, "", "is empty: a recipe or a search space was expected")])
    data = plain(root, ())
    if not problems and not isinstance(data, dict):
        problems.append(Problem(file, 1, "", "the document must be a mapping of keys to values"))
    if problems:
        raise DocumentError(problems)
    return Document(data, file, lines)


def _unfit(value: Any) -> str:
    """Why YAML may hold this scalar and a document may not; "" where it may."""
    if isinstance(value, str) and any(c < " " and c not in "\t\n\r" or "\ud800" <= c <= "\udfff" for c in value):
        return "holds a character that is no text"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, int) and abs(value) >= MAX_NUMBER:
        return "is too large a number"
    return ""


def value_of(text: str) -> Any:
    """The value of ``--set PATH=VALUE``: YAML in flow style, so ``[a, b]`` and ``{kind: flsw}`` work."""
    return parse(f"value: {text}", "--set").data["value"]


def dump(data: Mapping[str, Any]) -> str:
    """YAML text of plain data: block style at the top, one line for what fits in 120 columns."""
    return "".join(_block(str(key), value, 0) for key, value in data.items())


def _block(key: str, value: Any, indent: int) -> str:
    pad = "  " * indent
    flat = flow(value)
    if not isinstance(value, Mapping) or not value or len(flat) + len(pad) + len(key) <= 118:
        return f"{pad}{flow(key)}: {flat}\n"
    return f"{pad}{flow(key)}:\n" + "".join(_block(str(k), v, indent + 1) for k, v in value.items())


def flow(value: Any) -> str:
    """One value in YAML's flow style, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(k))}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(v) for v in value) + "]"
    if isinstance(value, str):
        bare = value and all(c.isalnum() or c in "_-./" for c in value) and value[0].isalpha()
        return value if bare and value.lower() not in {"null", "true", "false"} else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: what fingerprints are made of, and how Optuna stores structured choices."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def get(data: Any, path: str) -> Any:
    """The value at ``a/b/0``. Raises KeyError."""
    for key in split(path):
        if isinstance(data, dict) and str(key) in data:
            data = data[str(key)]
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            raise KeyError(path)
    return data


def put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at ``a/b``, making the mappings on the way. Raises KeyError where a leaf stands in the way, or there is no such place."""
    keys = split(path)
    if not 0 < len(keys) <= MAX_DEPTH:
        raise KeyError(path)
    *parents, last = keys
    node: Any = data
    for key in parents:
        if isinstance(node, dict):
            node = node.setdefault(str(key), {})
        elif isinstance(node, list) and isinstance(key, int) and key < len(node):
            node = node[key]
        else:
            raise KeyError(path)
    if isinstance(node, dict):
        node[str(last)] = value
    elif isinstance(node, list) and isinstance(last, int) and last < len(node):
        node[last] = value
    else:
        raise KeyError(path)


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` → ``{"a/b": 1}``; lists stay whole."""
    out: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            out |= flatten(value, path)
        else:
            out[path] = value
    return out


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, flushed to disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(raw)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
