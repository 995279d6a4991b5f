"""C{python -m tile38cm.flags} prints the table for the documentation."""

from tile38cm.flags.pages import rst_page

if __name__ == "__main__":
    print("\n".join(rst_page()).lstrip())
