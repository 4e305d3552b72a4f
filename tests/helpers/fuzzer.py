"""Documents gone wrong at random, by a seed: what a slip of the hand, another tool or another
format could make of a YAML file.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

from autokd.recipe import document

LONG = "x" * 5000
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    3,
    10**30,
    10**400,
    0.5,
    -0.0,
    float("inf"),
    float("nan"),
    "",
    " ",
    "/",
    "a//b",
    "~",
    "kd",
    "train",
    "digits",
    "folder:",
    "folder:x",
    "folder:~nobody",
    "~nobody/a.pt",
    "a\0b",
    "x\ny",
    "é\u2028",
    "²",
    "a{9999999999999}",
    "cnn-0x0",
    "cnn-99999999999999999999x8",
    LONG,
    [],
    {},
    [[]],
    [{}],
    [None],
    {"": 1},
    {"/": 1},
    {"0": 1},
    {"a/b": 1, "a": 2},
    {"preset": []},
    {"kind": {}},
    {"preset": "dtd"},
    {"preset": {}},
    {"uniform": [2, 9]},
    {"uniform": []},
    {"uniform": {}},
    {"uniform": ["a", "b"]},
    {"uniform": [1, 2], "prior": "x"},
    {"uniform": [0, float("inf")]},
    {"log_uniform": [0, 1]},
    {"int_uniform": [1, 3]},
    {"choice": []},
    {"choice": [{}]},
    {"choice": [[], {"a": 1}]},
    {"choice": {"a": 1}},
    {"choice": [1], "uniform": [1, 2]},
    {"one_of": []},
    {"one_of": [{}]},
    {"one_of": [1, 2]},
    {"one_of": [{"one_of": [{"one_of": [{}]}]}]},
    {"one_of": [{"preset": "kd"}, {"preset": "dtd"}], "free": "recommended"},
    {"one_of": [{"preset": "kd"}], "free": []},
    {"one_of": [{"kind": "flsw", "tau": {"uniform": [1, 2]}}]},
]
WORDS = [
    "kind",
    "preset",
    "tau",
    "weight",
    "losses/kl/weight",
    "temperature/tau",
    "free",
    "one_of",
    "choice",
    "uniform",
    "prior",
    "vary",
    "search",
    "base",
    "baselines",
    "forbid",
    "objective",
    "maximize",
    "train",
    "train/lr",
    "distill",
    "distill/temperature",
    "distill/losses",
    "student/resolution",
    "teacher/train/lr",
    "ladder",
    "ladder/0",
    "seed",
    "version",
    "provenance",
    "0",
    "²",
    "/",
    "//",
    "",
    "null",
    "1.5",
    "true",
    "<<",
    LONG,
]
TEXT = [
    "[" * 3000,
    "{a: " * 90,
    "- " * 200,
    "\t",
    "\n",
    "  ",
    ":",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "!!int ",
    "!x ",
    "# ",
    "'",
    '"',
    "|\n",
    ">\n",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "<<: ",
    "\x00",
    "\x07",
    "\ufeff",
    "\u2028",
    "\ud7ff",
    "\U0001f600",
    "\\ud800",
    "\\U99999999",
    "0x1F",
    "0o7",
    "1e999",
    "2020-01-01",
    "1:30",
    "~",
    "=",
    "@",
    "`",
]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of the document with every key of it."""
    for key in (
        list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    ):
        yield node, key
        yield from places(node[key])


def tree(data: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The document with one to three of its nodes dropped, replaced, doubled, moved, renamed or
    nested.
    """
    data = copy.deepcopy(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        found = list(places(data))
        if not found:
            return data
        node, key = rng.choice(found)
        other, there = rng.choice(found)
        act = rng.randrange(9)
        if act == 0:
            del node[key]
        elif act in (1, 2):
            node[key] = copy.deepcopy(rng.choice(ODD))
        elif act == 3:
            node[key] = copy.deepcopy(other[there])
        elif act == 4 and isinstance(node, dict):
            node[rng.choice(WORDS)] = node.pop(key)
        elif act == 5 and isinstance(node, dict):
            node[rng.choice(WORDS)] = copy.deepcopy(rng.choice([node[key], rng.choice(ODD)]))
        elif act == 6 and isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        elif act == 7 and isinstance(node[key], dict) and node[key]:  # a mapping written as paths
            inner = node.pop(key) if isinstance(node, dict) else None
            for k, v in (inner or {}).items():
                node[f"{key}/{k}"] = v
                if rng.random() < 0.2:
                    node[key] = copy.deepcopy(rng.choice(ODD))
        elif act == 8:
            word = rng.choice(["one_of", "choice", "uniform", rng.choice(WORDS)])
            for _ in range(rng.choice([1, 1, 2, 30])):
                node[key] = {word: [node[key]]} if rng.random() < 0.5 else {word: node[key]}
    return data


def text(source: str, rng: random.Random) -> str:
    """The text with a few characters or lines dropped, doubled, moved or put in."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        lines = source.splitlines(keepends=True) or [""]
        i = rng.randrange(len(lines))
        at = rng.randrange(len(source) + 1)
        act = rng.randrange(7)
        if act == 0:
            del lines[i]
        elif act == 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[i])
        elif act == 2:
            lines[i] = rng.choice(["\t", " ", "  "]) + lines[i]
        elif act == 3:
            lines = [source[:at]]
        elif act == 4:
            lines = [source[:at], source[at + rng.randrange(1, 9) :]]
        else:
            lines = [source[:at], rng.choice(TEXT), source[at:]]
        source = "".join(lines)
    return source


def raw(source: str, rng: random.Random) -> bytes:
    """The file in another encoding, or with bytes of something else."""
    encoding = rng.choice(["utf-8", "utf-16", "utf-32", "latin-1", "utf-8-sig"])
    out = bytearray(source.encode(encoding, errors="replace"))
    for _ in range(rng.choice([0, 0, 1, 20])):
        at = rng.randrange(len(out) + 1)
        out[at:at] = rng.randbytes(rng.choice([1, 4, 100]))
    return bytes(rng.choice([out, out, b"", rng.randbytes(300)]))


def mutants(sources: list[str], count: int, seed: int) -> Iterator[bytes]:
    """So many broken documents made of these; ``tree`` where the document is still one of keys and
    values.
    """
    rng = random.Random(seed)
    plain = [document.parse(source).data for source in sources]
    ways: list[Callable[[int], bytes]] = [
        lambda i: (
            document.dump(tree(plain[i], rng))
            .replace("NaN", ".nan")
            .replace("Infinity", ".inf")
            .encode()
        ),
        lambda i: text(sources[i], rng).encode(),
        lambda i: raw(sources[i], rng),
    ]
    for _ in range(count):
        yield rng.choices(ways, [8, 3, 1])[0](rng.randrange(len(sources)))
