"""A storage SCP that misbehaves in one way: `awkward_scp.py MODE`.

Prints `listening PORT`, then one JSON line per object that it was sent.
Modes:
  good            stores everything
  busy-once       answers A700 to the first object, 0000 afterwards
  warns           answers B000 to everything
  poison          answers C000 to the object whose SOP instance UID ends with .2, 0000 to the others
  always-busy     answers A700 to the object whose SOP instance UID ends with .1, 0000 to the others
  crashes-on-1    closes the connection whenever the object with the UID ending with .1 comes
  silent          takes objects and never answers
  slow            answers after half a second
  implicit-only   takes Implicit VR Little Endian only
  sr-only         takes structured reports only
  one-caller      rejects every calling AE title but OTHER
"""

import hashlib
import json
import socket
import sys
import threading
import time

from pynetdicom import AE, evt
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"

mode = sys.argv[1]
state = {"first": True}
lock = threading.Lock()


def say(**what):
    with lock:
        print(json.dumps(what), flush=True)


def first_time():
    with lock:
        first, state["first"] = state["first"], False
        return first


def on_store(event):
    uid = str(event.request.AffectedSOPInstanceUID)
    status = 0x0000
    if mode == "busy-once" and first_time():
        status = 0xA700
    elif mode == "warns":
        status = 0xB000
    elif mode == "poison" and uid.endswith(".2"):
        status = 0xC000
    elif mode == "always-busy" and uid.endswith(".1"):
        status = 0xA700
    elif mode == "crashes-on-1" and uid.endswith(".1"):
        say(uid=uid, status=None)
        event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        return 0x0000
    elif mode == "silent":
        say(uid=uid, status=None)
        time.sleep(3600)
    elif mode == "slow":
        time.sleep(0.5)
    dataset = event.dataset
    pixels = dataset.get("PixelData", b"")
    say(
        uid=uid,
        status=status,
        syntax=str(event.context.transfer_syntax),
        name=str(dataset.PatientName),
        pixels=hashlib.sha256(pixels).hexdigest(),
        text=str(dataset.ContentSequence[0].TextValue) if "ContentSequence" in dataset else "",
        association=id(event.assoc),
    )
    return status


ae = AE(ae_title="PACS")
ae.network_timeout = 3600
ae.dimse_timeout = 3600
syntaxes = [ImplicitVRLittleEndian] if mode == "implicit-only" else [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
ae.add_supported_context("1.2.840.10008.1.1", syntaxes)
ae.add_supported_context(COMPREHENSIVE_3D_SR, syntaxes)
if mode != "sr-only":
    ae.add_supported_context(SECONDARY_CAPTURE, syntaxes)
if mode == "one-caller":
    ae.require_calling_aet = ["OTHER"]

server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
print("listening", server.server_address[1], flush=True)
# The parent closes standard input when it is done with us.
sys.stdin.read()
sys.exit(0)
