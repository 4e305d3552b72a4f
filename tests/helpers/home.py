"""One small search and its export, for all tests that only read a finished study."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.commands import autokd, python

RECIPE = """\
data:    {name: digits, resolution: 8, limit: 300}
teacher: {model: cnn-3x16, train: {epochs: 8, batch_size: 20, lr: 0.1, warmup: 0.1}}
student: {model: cnn-2x8, resolution: 6}
distill: {preset: kd}
train:   {epochs: 8, batch_size: 20, lr: 0.1, warmup: 0.1}
"""
# Eight trials: some are pruned, and those with a learning rate of a million diverge.
SPACE = """\
base: base.yaml
search:
  trials: 8
  asha: {grace_epochs: 1, reduction: 2, exempt: 0}
  finalists: {top: 1, seeds: 3}
  controls: {share: 0}
vary:
  distill/temperature/tau: {uniform: [1, 16]}
  train/lr: {choice: [0.1, 1.0e+6], prior: 0.1}
"""
# Export, reproduce and predict under a hook that no code can take off: whatever a pickle names
# ends the process. The last line shows that it does.
HOOKED = """
    import pickle, sys, torch, sklearn.datasets, onnxruntime, onnxscript, torch.onnx
    from pathlib import Path
    from autokd.export import bundle, predict, reproduce
    from autokd.train import distill

    def hook(event, args):
        if event == "pickle.find_class":
            raise SystemExit(f"unpickled {args}")

    sys.addaudithook(hook)
    bundle.export(Path("mlruns"), "small", Path("out"), calibrate=True)
    outcome = reproduce.reproduce("out/recipe.yaml", quiet=True)
    print(outcome.verdict, len(list(predict.predict(Path("out"), Path("one.png")))))
    pickle.loads(pickle.dumps(Path))
"""


def make(where: Path) -> None:
    """Two workers search in ``where``; the study ``small`` is exported to ``out``.

    What was said stays beside them: ``answer.json``, and ``hooked.json`` of the export.
    """
    (where / "base.yaml").write_text(RECIPE)
    (where / "space.yaml").write_text(SPACE)
    search = "search --space space.yaml --jobs 2 --name small --json"
    done = autokd(*search.split(), cwd=where, OMP_NUM_THREADS="2")
    (where / "answer.json").write_text(done.stdout)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(where / "one.png")
    hooked = python(HOOKED, cwd=where, code=1, AUTOKD_CACHE=str(where / "another cache"))
    (where / "hooked.json").write_text(json.dumps([hooked.stdout, hooked.stderr]))
