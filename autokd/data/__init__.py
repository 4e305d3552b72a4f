"""Pictures: from where they lie to what one run sees.

``sources`` find them, ``packing`` decodes them into one file that ``packs`` finds again, ``splits``
cuts its rows, ``dataset`` puts them on the device (``placing``), and ``views`` are what a network
looks at.
"""

from autokd.data.dataset import Dataset, Split, load, notes
from autokd.data.packs import downloads_folder, pack, verify
from autokd.data.pictures import Pictures
from autokd.data.sources import Contents, Part
from autokd.data.splits import cut, stratified
from autokd.data.views import Mix, Views, resize

__all__ = [
    "Contents",
    "Dataset",
    "Mix",
    "Part",
    "Pictures",
    "Split",
    "Views",
    "cut",
    "downloads_folder",
    "load",
    "notes",
    "pack",
    "resize",
    "stratified",
    "verify",
]
