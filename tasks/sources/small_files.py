"""The process that reads small files for another one.

It is told a root's label, and the numbers of open files that it is born with: the root's folder, memory that both
processes see, and a pipe for its answers. Questions come by standard input: a length of four bytes (little-endian), and
msgpack: where in the memory the bytes of files go, one behind the other, and of each file path, user, size and version
as they were listed. An answer has its length too, and a byte for each file: 1 if it was read, and was what was listed
until then. A question of length 0 is the last.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
from typing import BinaryIO

import msgpack

from tasks.item import FILE, Entry
from tasks.sources.extents import SMALLEST
from tasks.sources.file_entry import OwnerNames
from tasks.sources.file_reader import FileReader
from tasks.sources.open_folders import Descriptor, OpenFolders

LENGTH = struct.Struct("<I")
LAST = LENGTH.pack(0)
REGION = 1 << 20
"""Bytes of the memory that one batch may fill."""
_new = tuple.__new__


def serve(reader: FileReader, memory: memoryview, questions: BinaryIO, answers: BinaryIO) -> None:
    """Until there are no more questions."""
    while any(length := questions.read(LENGTH.size)):
        at, files = msgpack.unpackb(questions.read(LENGTH.unpack(length)[0]), use_list=False)
        good = bytearray()
        for path, user, size, version in files:
            entry = _new(Entry, (path, FILE, 0, user, 0, "", "", 0, size, version, b"", 0, (), None, "", b""))
            # Another entry says something that was not listed: whoever asks reads it again, and sees.
            read = reader.at_once(entry, memory[at : at + SMALLEST]) is entry
            good.append(read)
            at += size if read else 0
        answers.write(LENGTH.pack(len(good)) + good)
        answers.flush()


def main() -> None:
    # A Ctrl+C is for the process that asks: when it ends, there are no more questions.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    label, (folder, memory, answers) = sys.argv[1], map(int, sys.argv[2:])
    reader = FileReader(OpenFolders(Descriptor(folder)), OwnerNames(), label=os.fsencode(label))
    with open(answers, "wb") as answered:
        serve(reader, memoryview(mmap.mmap(memory, 0)), sys.stdin.buffer, answered)
