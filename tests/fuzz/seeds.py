"""A few small files of each kind to begin from: written by us or by python-can, nobody else's."""

import warnings
from pathlib import Path

import can

from hw import simulate, write_candump
from user_lib.contract.frames import EXTENDED, FD, FrameBatch

__all__ = ["KCD", "SYM", "by_python_can", "write_seeds"]

DBC = r"""VERSION "1"
NS_ :
BS_:
BU_: A
VAL_TABLE_ T 0 "a" 1 "b" ;
BO_ 256 M: 8 A
 SG_ P M : 0|8@1+ (1,0) [0|0] "" A
 SG_ Q m1M : 8|8@1+ (1,0) [0|0] "" A
 SG_ R m2 : 15|12@0- (0.5,-3) [0|9] "km/h" A
 SG_ F : 32|32@1- (1,0) [0|0] "" A
BO_ 2566848784 E: 64 Vector__XXX
 SG_ W : 7|64@0+ (1e-3,0) [0|0] "" A
CM_ SG_ 256 R "text \" of
two lines";
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 1000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 256 100;
VAL_ 256 R 0 "zero" -1 "minus" ;
SIG_VALTYPE_ 256 F : 1;
SG_MUL_VAL_ 256 R Q 1-3, 5-5;
"""
KCD = """<?xml version="1.0" encoding="UTF-8"?>
<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0">
 <Document name="d"/>
 <Node id="1" name="A"/>
 <Bus name="Main">
  <Message id="0x10" name="One" length="2"><Signal name="S" offset="0" length="8"/></Message>
  <Message id="0x11" name="Two" length="2">
   <Signal name="S" offset="0" length="8"/>
  </Message>
  <Message id="0x12" name="Three" length="2"/>
 </Bus>
</NetworkDefinition>
"""
SYM = """FormatVersion=6.0 // Do not edit this line!
Title="t"

{ENUMS}
Enum=E(0="no", 1="yes")

{SIGNALS}
Sig=Shared unsigned 8

{SENDRECEIVE}

[One]
ID=010h
Len=2
Sig=Shared 0

[Two]
ID=011h
Len=2
Var=Own unsigned 8,8

[Paged]
ID=012h
Len=8
Mux=First 0,8 1
Var=A unsigned 8,8

[Paged]
Len=8
Mux=Second 0,8 2
Var=B unsigned 16,8
"""
MAPPING = """A.B:
  datatype: float
  dbc2vss: {signal: S, interval_ms: 100, on_change: true, transform: {math: "floor(x/2)^2"}}
A.C:
  dbc2vss:
    signal: S
    transform: {mapping: [{from: 1, to: ON}, {from: "off", to: false}]}
"""
ASC = """date Sam Sep 30 15:06:13.191 2017
base hex  timestamps absolute
   0.083540 1  594   Rx   d 8 34 21 34 21 A0 62 01 20
   2.584921 2 18EBFF00x Tx r 8
   2.601000 1 ErrorFrame
  30.005071 CANFD   2 Rx   300  Name   1 0 8  8 01 02 03 04 05 06 07 08   102203 0
"""
TRC = """;$FILEVERSION=2.1
;$STARTTIME=44548.6028595139
;$COLUMNS=N,O,T,B,I,d,R,L,D
      1     17535.400 DT 1  00000100 Tx -  8    00 00 00 00 00 00 00 00
      2     17537.400 FB 2      0100 Rx -  9    00 00 00 00 00 00 00 00 00 00 00 00
"""
GVRET = """Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8
1953613500,00000109,false,Rx,0,8,00,01,00,FF,FF,FF,0F,3D
1953613600,18EBFF00,true,Tx,1,3,01,02,03
"""
TABLE = """timestamp,arbitration_id,extended,remote,error,dlc,data
1700000000.25,0x123,0,0,0,8,ESIzRFVmd4g=
1700000000.5,0x18feca00,1,1,0,8,
"""


def write_seeds(target: str, folder: Path) -> None:
    """Write the seeds of one target."""
    texts = {
        "dbc": DBC, "kcd": KCD, "sym": SYM, "mapping": MAPPING,
        "asc": ASC, "trc": TRC, "gvret": GVRET, "table": TABLE,
    }  # fmt: skip
    if target in texts:
        (folder / "seed").write_text(texts[target])
    elif target == "candump":
        write_candump(folder / "seed", [_drive()], ["can0", "can1"])
    elif target == "blf":
        by_python_can(can.BLFWriter, folder / "seed.blf", _drive())
    elif target == "mf4":
        by_python_can(can.MF4Writer, folder / "seed.mf4", _drive())


def _drive() -> FrameBatch:
    return next(iter(simulate("compact", 1, 1.0))).take(slice(0, 30))


def by_python_can(writer: type, path: Path, batch: FrameBatch) -> None:
    """Write frames with one of python-can's own writers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with writer(str(path)) as out:
            for i in range(len(batch)):
                out.on_message_received(
                    can.Message(
                        timestamp=1_600_000_000 + int(batch.time_ns[i]) / 1e9,
                        arbitration_id=int(batch.can_id[i]),
                        is_extended_id=bool(batch.flags[i] & EXTENDED),
                        is_fd=bool(batch.flags[i] & FD),
                        data=batch.data[i, : batch.length[i]].tobytes(),
                        channel=1,
                    )
                )
