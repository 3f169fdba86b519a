"""Small folders of documents for tests that need some and care little which."""

WORDS = "The valve regulates the flow of the coolant through the outer ring of the reactor. "


def write_documents(folder, count=6):
    """Markdown files about nearly nothing; near duplicates of one another."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = f"# Part {number}\n\n" + f"{folder.parent.name} item {number}. {WORDS}" * 9
        (folder / f"{number}.md").write_text(text)
    return folder


def pdf_line(text, x=72, y=720, size=11, font="F1"):
    """One line of a page for `pdf_bytes`: Helvetica (`F1`) or Courier (`F2`), in points."""
    return (text, x, y, size, font)


def pdf_paragraph(lines, top=720, x=72, size=11, font="F1", step=14):
    """Lines below one another."""
    return [pdf_line(line, x, top - step * at, size, font) for at, line in enumerate(lines)]


def pdf_bytes(pages, title="", outline=(), encrypted=False):
    """A small PDF file.

    Args:
        pages: of each page its lines, as `pdf_line` makes them.
        title: for the file's metadata.
        outline: titles with the pages that they lead to.
        encrypted: says that a password is needed.
    """
    objects = {3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"}
    objects[4] = b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>"
    objects[5] = b"<< /Title (%s) >>" % title.encode("latin-1")
    first = 10
    kids = [first + 2 * at for at in range(len(pages))]
    for number, lines in zip(kids, pages, strict=True):
        stream = b"\n".join(map(_drawn, lines))
        objects[number] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>" % (number + 1)
        )
        objects[number + 1] = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)
    below = b" ".join(b"%d 0 R" % kid for kid in kids)
    objects[2] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (below, len(kids))
    root = first + 2 * len(pages)
    catalog = b"/Type /Catalog /Pages 2 0 R"
    if outline:
        catalog += b" /Outlines %d 0 R" % root
        entries = [root + 1 + at for at in range(len(outline))]
        objects[root] = b"<< /First %d 0 R /Last %d 0 R >>" % (entries[0], entries[-1])
        for at, (entry, (name, page)) in enumerate(zip(entries, outline, strict=True)):
            following = b"/Next %d 0 R" % entries[at + 1] if at + 1 < len(entries) else b""
            objects[entry] = b"<< /Title (%s) /Parent %d 0 R /Dest [%d 0 R /Fit] %s >>" % (
                name.encode("latin-1"),
                root,
                kids[page],
                following,
            )
    objects[1] = b"<< %s >>" % catalog
    return _assembled(objects, encrypted)


def _drawn(line):
    text, x, y, size, font = line
    for mark in "\\()":
        text = text.replace(mark, f"\\{mark}")
    return f"BT /{font} {size} Tf {x} {y} Td ({text}) Tj ET".encode("latin-1")


def _assembled(objects, encrypted):
    out, places = bytearray(b"%PDF-1.7\n"), {}
    for number in sorted(objects):
        places[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    table, size = len(out), max(objects) + 1
    out += b"xref\n0 %d\n" % size
    for number in range(size):
        known = number in places
        out += b"%010d %05d %s \n" % (
            places.get(number, 0),
            0 if known else 65535,
            b"n" if known else b"f",
        )
    lock = b""
    if encrypted:
        secret = b"<%s>" % (b"00" * 32)
        lock = b" /Encrypt << /Filter /Standard /V 1 /R 2 /P -44 /O %s /U %s >> /ID [<00> <00>]" % (
            secret,
            secret,
        )
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (
        size,
        lock,
        table,
    )
    return bytes(out)
