"""Weights of a repository of the Hugging Face Hub: from its cache, else fetched."""

from pathlib import Path

import huggingface_hub

from autokd.networks.library_common import absent, download, reachable

SAFE, ABOUT = "model.safetensors", "config.json"


def of_hub(repository: str) -> Path:
    """The folder that holds the weights of ``OWNER/NAME`` and what they say of themselves. Raises
    :class:`UserError` where it is neither in the hub's cache nor to be had.
    """
    cached = huggingface_hub.try_to_load_from_cache(repository, SAFE)
    if isinstance(cached, str):
        return Path(cached).parent
    name, url = f"hf_hub:{repository}", huggingface_hub.hf_hub_url(repository, SAFE)
    if huggingface_hub.constants.HF_HUB_OFFLINE or not reachable(url):
        raise absent(name, url, [f"./NAME/{SAFE}, named as weights: ./NAME"])
    with download(name):
        huggingface_hub.hf_hub_download(repository, ABOUT)
        return Path(huggingface_hub.hf_hub_download(repository, SAFE)).parent
