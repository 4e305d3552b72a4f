"""The student as ONNX and as plain Python says what it says in torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autokd import networks
from autokd.export.loading import Metadata
from autokd.export.standalone import network_py
from tests.export.exported import all_test_pictures, temperature, torch_logits
from tests.helpers.commands import python


def test_onnx_agrees_with_torch_on_every_test_picture(home: Path) -> None:
    import onnxruntime

    pictures, _ = all_test_pictures()
    ours = (torch_logits(home, pictures) / temperature(home)).numpy()
    session = onnxruntime.InferenceSession(
        str(home / "out" / "student.onnx"), providers=["CPUExecutionProvider"]
    )
    for count in (1, 7, len(pictures)):
        theirs = session.run(["logits"], {"pictures": pictures[:count].numpy()})[0]
        assert np.abs(theirs - ours[:count]).max() <= 1e-4
        assert (theirs.argmax(1) == ours[:count].argmax(1)).all()
    assert len(pictures) == 359
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list("0123456789")


def test_load_py_needs_torch_and_safetensors_only(home: Path, tmp_path: Path) -> None:
    pictures, _ = all_test_pictures()
    torch.save(pictures, tmp_path / "pictures.pt")
    shutil.copytree(home / "out", tmp_path / "moved")
    program = f"""
        import sys
        for name in ("autokd", "timm", "torchvision", "onnx", "pydantic", "ruamel"):
            sys.modules[name] = None
        import torch
        from load import load

        student, labels = load()
        pictures = torch.load({str(tmp_path / "pictures.pt")!r}, weights_only=True)
        wide = torch.nn.functional.pad(pictures, (3, 3), value=1.0)
        assert torch.equal(student(wide), student(pictures))
        assert torch.equal(student(wide.mT), student(pictures.mT))
        torch.save([student(pictures), labels], {str(tmp_path / "answers.pt")!r})
    """
    python(program, cwd=tmp_path / "moved")
    probs, labels = torch.load(tmp_path / "answers.pt", weights_only=True)
    ours = (torch_logits(home, pictures) / temperature(home)).softmax(1)
    assert labels == list("0123456789")
    assert (probs - ours).abs().max() < 1e-5
    assert (probs.argmax(1) == ours.argmax(1)).all()


NETWORKS = "cnn-3x8 resnet8 wrn-16-1 vgg8 shufflenetv1 plane-4 timm:vit_tiny_patch16_224".split()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_can_be_written_out_as_python(name: str) -> None:
    size = 64 if ":" in name else 32
    network = networks.build(name, classes=5, channels=3, resolution=size, seed=1).eval()
    pictures = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(2))
    text = network_py(network, pictures[:2], Metadata(name, size, 3, list("abcde")))
    scope: dict[str, Any] = {}
    exec(compile(text, name, "exec"), scope)
    with torch.inference_mode():
        assert torch.equal(scope["network"](networks.state(network), pictures), network(pictures))
