"""From Debian's bzImage to the ELF inside it, which QEMU starts at once: an emulated guest that unpacks its own kernel
needs five seconds more."""
import ctypes
import struct

CHUNK = 8 << 20  # what lz4's legacy format unpacks to at a time


class KernelError(Exception):
    """A kernel image of a kind that is not known here."""


def payload(image):
    """The compressed kernel: Linux's boot protocol says where it is."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    return image[start:start + length]


def unpack(image, liblz4):
    """The vmlinux in a bzImage; `liblz4` is the path of the library, from the same pins as the kernel."""
    packed = payload(image)
    if packed[:4] != b"\x02\x21\x4c\x18":
        raise KernelError(f"the kernel is not packed with lz4 but begins with {packed[:6].hex()}; teach nix/guest/kernel.py its format")
    decompress = ctypes.CDLL(liblz4).LZ4_decompress_safe
    buffer, parts, position = ctypes.create_string_buffer(CHUNK), [], 4
    while position + 4 <= len(packed):
        size = struct.unpack_from("<I", packed, position)[0]
        chunk = packed[position + 4:position + 4 + size]
        if size == 0 or len(chunk) < size:
            break  # behind the last chunk stands the length of the whole
        count = decompress(chunk, buffer, size, CHUNK)
        if count < 0:
            raise KernelError("the packed kernel is damaged")
        parts.append(buffer.raw[:count])
        position += 4 + size
        if count < CHUNK:
            break
    kernel = b"".join(parts)
    if kernel[:4] != b"\x7fELF":
        raise KernelError("the unpacked kernel is no ELF file")
    return kernel
