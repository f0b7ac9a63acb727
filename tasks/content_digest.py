"""The digest of an item's stream: XXH3 with 128 bits (<https://github.com/Cyan4973/xxHash>), as `xxh128sum` prints it.

It tells whether what came back is what was read: no accident gets past it, in an eighth of the time that BLAKE3 takes.
Chunks, which nobody may find a second content for, are named by that one.
"""

from __future__ import annotations

import xxhash

SIZE = 16
"""In bytes. Earlier builds noted 32 bytes, of BLAKE3."""

ContentDigest = xxhash.xxh3_128
content_digest = xxhash.xxh3_128_digest
