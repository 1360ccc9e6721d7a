"""Reads a structured report with highdicom and prints its measurement groups as one line of JSON.

Usage: read_measurement_groups.py REPORT.dcm
"""

import json
import sys

import highdicom as hd
from highdicom.sr import srread


def numbers(group, value):
    for measurement in group.get_measurements():
        if measurement.name.value == value:
            return float(measurement.value)
    return None


def main(path):
    document = srread(path)
    report = document.content
    assert isinstance(report, hd.sr.MeasurementReport), type(report)
    groups = {}
    for group in report.get_image_measurement_groups():
        groups[group.tracking_identifier] = {"probability": numbers(group, "122157")}
    for group in report.get_planar_roi_measurement_groups():
        region = group.roi
        image = region.ContentSequence[0].ReferencedSOPSequence[0]
        side = group.finding_sites[0].laterality
        groups[group.tracking_identifier] = {
            "probability": numbers(group, "122157"),
            "volume_cm3": numbers(group, "118565006"),
            "point": [float(v) for v in region.value.flatten()],
            "image": image.ReferencedSOPInstanceUID,
            "laterality": side.value if side is not None else None,
        }
    print(json.dumps(groups))


main(sys.argv[1])
