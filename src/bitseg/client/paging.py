"""Answers that come in pages: of what is kept by name, and members in an event loop."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from bitseg.results import NamedPage

Item = TypeVar("Item")
PageT_co = TypeVar("PageT_co", covariant=True)


def on_all_pages(page_after: Callable[[str], NamedPage[Item]]) -> Iterator[Item]:
    """The items on all pages, which a call returns for one page token after the other."""
    token = ""
    while True:
        page = page_after(token)
        yield from page.items
        token = page.next_page_token
        if not token:
            return


async def async_on_all_pages(page_after: Callable[[str], Awaitable[NamedPage[Item]]]) -> list[Item]:
    """The same in an event loop, as a list."""
    items: list[Item] = []
    token = ""
    while True:
        page = await page_after(token)
        items += page.items
        token = page.next_page_token
        if not token:
            return items


class AsyncPages(AsyncIterator[PageT_co]):
    """Pages one after the other, each made of a page and the token that stands for its end."""

    def __init__(self, pages: AsyncIterator[tuple[PageT_co, str]], resume_token: str = "") -> None:
        self._pages = pages
        self.resume_token = resume_token

    async def __anext__(self) -> PageT_co:
        page, self.resume_token = await anext(self._pages)
        return page


@dataclass(frozen=True, slots=True)
class AsyncMembers(Generic[PageT_co]):
    """As `Members`, for an event loop: `async for` gives the ids, and `pages` gives them page by page."""

    total: int
    version: int
    warnings: tuple[str, ...]
    pages: AsyncPages[PageT_co]

    @property
    def resume_token(self) -> str:
        """Stands for the end of the page that was taken last: given to another call, it asks for those that follow."""
        return self.pages.resume_token

    def __aiter__(self: "AsyncMembers[Iterable[Item]]") -> AsyncIterator[Item]:
        return _ids(self.pages)


async def _ids(pages: AsyncIterable[Iterable[Item]]) -> AsyncIterator[Item]:
    async for page in pages:
        for item in page:
            yield item
