"""The rotation of benches/rotation.rs in SciPy: one timed run, in seconds, for each line on standard input."""
import sys
import time

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

shape = (160, 192, 160)
source = np.sin(np.arange(np.prod(shape), dtype=np.float32) * np.float32(0.37)).reshape(shape)
inverse = Rotation.from_euler("XYZ", (11, -7, 13), degrees=True).as_matrix().T
centre = (np.array(shape) - 1) / 2
offset = centre - inverse @ centre
out = np.empty_like(source)
for _ in sys.stdin:
    began = time.perf_counter()
    ndimage.affine_transform(source, inverse, offset, output=out, order=1, mode="constant", cval=-1.5)
    print(time.perf_counter() - began, flush=True)
