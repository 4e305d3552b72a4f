"""What `--help` says beside the options: examples."""

from __future__ import annotations

# Command → what to type, and what for. A test has each of them understood by the command line.
EXAMPLES: dict[str, list[tuple[str, str]]] = {
    "search": [
        ("autokd search --space dtd", "a built-in space, on handwritten digits"),
        ("autokd search --space mine_space.yaml --dry-run", "what it would train and cost"),
        ("autokd search --space dtd --set train/epochs=9 --time 10m", "shorter runs, a limit"),
        ("autokd search --resume dtd-1", "go on with one that was stopped"),
    ],
    "auto": [
        ("autokd auto pets/ --budget 1h --max-latency 5ms", "a folder with a folder a class"),
        ("autokd auto digits --budget 2m", "embedded data"),
        ("autokd auto --resume --out auto/pets", "go on with one that was stopped"),
    ],
    "train": [
        ("autokd train digits", "a built-in pipeline"),
        ("autokd train recipe.yaml --out student --test", "a recipe; reads the test pictures"),
    ],
    "reproduce": [
        ("autokd reproduce mlruns/studies/dtd-1/recipe.yaml", "the same student again?"),
        ("autokd reproduce recipe.yaml --seeds 5", "is its interval right on this machine?"),
    ],
    "export": [
        ("autokd export dtd-1", "to exports/dtd-1"),
        ("autokd export dtd-1 --out student --calibrate", "with probabilities to be trusted"),
    ],
    "predict": [
        ("autokd predict exports/dtd-1 picture.png", "labels with probabilities"),
        ("autokd predict exports/dtd-1 pictures/ --json", "a line a picture"),
    ],
    "diff": [
        ("autokd diff one.yaml other.yaml", "what differs, in words"),
        ("autokd diff one.yaml other.yaml --json", "for programs"),
    ],
    "validate": [
        ("autokd validate mine.yaml mine_space.yaml", "every mistake at once"),
        ("autokd validate search_spaces/dtd.yaml", "a built-in one"),
    ],
    "show": [
        ("autokd show mine.yaml", "with every default"),
        ("autokd show mine_space.yaml --set search/trials=10", "what is free in it"),
    ],
    "spaces": [
        ("autokd spaces", "names for --space and `autokd train`"),
        ("autokd spaces --json", "with their files"),
    ],
    "methods": [("autokd methods", "one line each"), ("autokd methods --json", "with defaults")],
    "models": [
        ("autokd models", "names that a recipe may give"),
        ("autokd models resnet20 timm:resnet18", "size and speed on this machine"),
    ],
    "datasets": [
        ("autokd datasets", "names that a recipe may give"),
        ("autokd datasets folder:pets --resolution 224", "pack your own, and look at it"),
    ],
    "studies": [
        ("autokd studies", "state, score and verdict of each"),
        ("autokd studies --json", "for programs"),
    ],
    "schema": [
        ("autokd schema recipe", "for editors that complete YAML"),
        ("autokd schema space", "the same of search spaces"),
    ],
    "report": [
        ("autokd report dtd-1", "the study's page"),
        ("autokd report dtd-1 --out page.html", "where you want it"),
    ],
    "verify": [
        ("autokd verify dtd-1", "ledger, students, recipe, page, MLflow"),
        ("autokd verify dtd-1 --json", "for programs"),
    ],
    "ui": [
        ("autokd ui", "all trials in MLflow"),
        ("autokd ui --port 5000", "at an address of your choice"),
    ],
    "sync": [
        ("autokd sync", "bring MLflow up to all studies"),
        ("autokd sync dtd-1", "to one"),
    ],
    "cache": [
        ("autokd cache", "what is kept, and how much"),
        ("autokd cache --clear tables", "make room"),
    ],
}


def epilog(command: str) -> str:
    """The examples of a command, as click keeps their lines."""
    own = EXAMPLES[command]
    longest = max(len(typed) for typed, _ in own)
    lines = [f"  {typed:{longest}}  {what}" for typed, what in own]
    return "\b\n" + "\n".join(["Examples:", *lines])
