"""Uploads as forms (multipart/form-data): one that is whole, and what may become of it."""

from hypothesis import strategies as st

FORM = [
    b"--x\r\n", b'Content-Disposition: form-data; name="note"\r\n\r\n', b"by the sea", b"\r\n--x\r\n", b'Content-Disposition: form-data; name="file"\r\n', b"Content-Type: image/png\r\n\r\n",
    b"\x00\x01", b"\r\n--x--\r\n",
]  # fmt: skip
"""A field, then the file."""
TYPES = [
    "multipart/form-data; boundary=x", 'multipart/form-data; boundary="x"', "multipart/form-data; boundary*=utf-8''x; boundary=x", "multipart/form-data; boundary=\xe4", "multipart/form-data",
]  # fmt: skip
"""Content-Types of a form; those that name a boundary in a way that counts come first."""
_LINES = [
    b"--x", b"--x--", b"--", b"\r\n", b"\n", b"\r\n\r\n", b'Content-Disposition: form-data; name="file"', b'Content-Disposition: form-data; name="note"', b"Content-Disposition: form-data",
    b'content-disposition: form-data; name="\xc3\xa4"; filename="a\\"b"', b"Content-Disposition: ;;;", b"Content-Type: image/png", b"Content-Type: \xff", b"X\xff: y", b": y", b"x" * 9000, b"a",
    b"Content-Disposition: form-data; name*=utf-8''%ff; name=\"file\"", b'Content-Disposition: form-data; name="\xff"',
]  # fmt: skip


@st.composite
def forms(draw: st.DrawFn) -> list[bytes]:
    """FORM in pieces, of which some are missing, doubled or others; cut anywhere."""
    pieces = list(FORM)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(pieces)))
        others = st.lists(st.sampled_from(_LINES) | st.binary(max_size=4), max_size=3)
        pieces[at : at + draw(st.integers(0, 2))] = draw(others)
    if draw(st.booleans()):
        size = draw(st.integers(1, 40))
        text = b"".join(pieces)
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return pieces
