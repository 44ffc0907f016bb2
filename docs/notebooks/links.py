"""Links in notebooks: in the repository they name files, on the site they are addresses, as those of pages are."""

import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

LINK = re.compile(r'href="([^":#]+\.(?:md|ipynb))(#[^"]*)?"')


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """MkDocs calls this for each page when it is HTML. Raises PluginError for a file that is no page of the site."""
    here = page.file.src_uri

    def address(link: re.Match[str]) -> str:
        file = files.get_file_from_path(posixpath.normpath(posixpath.join(posixpath.dirname(here), link[1])))
        if file is None:
            raise PluginError(f"{here}: links to {link[1]}, which is no page of the site; name one, or take it out")
        return f'href="{file.url_relative_to(page.file)}{link[2] or ""}"'

    return LINK.sub(address, html) if here.endswith(".ipynb") else html
