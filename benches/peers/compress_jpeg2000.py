"""Writes every DICOM file of a folder into another, with its pixels as lossless JPEG 2000.

compress_jpeg2000.py FROM TO
"""

import pathlib
import sys

import pydicom
from pydicom.uid import JPEG2000Lossless

source, target = map(pathlib.Path, sys.argv[1:])
for path in sorted(source.iterdir()):
    dataset = pydicom.dcmread(path)
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.save_as(target / path.name)
