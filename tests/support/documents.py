"""Small folders of documents for tests that need some and care little which."""

WORDS = "The valve regulates the flow of the coolant through the outer ring of the reactor. "


def write_documents(folder, count=6):
    """Markdown files about nearly nothing; near duplicates of one another."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = f"# Part {number}\n\n" + f"{folder.parent.name} item {number}. {WORDS}" * 9
        (folder / f"{number}.md").write_text(text)
    return folder
