"""Makes rotation_golden.json with SciPy's affine_transform (order 1, constant outside).

Usage: python rotation_golden.py > rotation_golden.json      (needs numpy and scipy)
"""
import json
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

shape, background = (5, 7, 6), -3.0
source = np.random.default_rng(7).normal(size=shape).astype(np.float32)
cases = []
for angles, mirrored in [((15, 0, 0), False), ((0, -12, 0), False), ((0, 0, 9), False), ((15, -15, 15), False),
                         ((-7.5, 3.25, 11), False), ((8, 4, -14), True), ((0.01, 0, 0), False)]:
    # Intrinsic "XYZ" is R0·R1·R2: turned about axis 2 first, axis 0 last. The source position is its inverse.
    inverse = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix().T
    centre = (np.array(shape) - 1) / 2
    data = source[::-1] if mirrored else source
    turned = ndimage.affine_transform(data.astype(np.float64), inverse, centre - inverse @ centre, order=1,
                                      mode="constant", cval=background)
    cases.append({"angles_deg": angles, "mirrored": mirrored, "expected": [round(float(v), 6) for v in turned.ravel()]})
print(json.dumps({"shape": shape, "background": background, "source": [float(v) for v in source.ravel()], "cases": cases}))
