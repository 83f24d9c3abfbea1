"""Answers in pages: catalog entries, and members in an event loop."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from bitseg.results import NamedPage

Item = TypeVar("Item")
PageT_co = TypeVar("PageT_co", covariant=True)


def on_all_pages(page_after: Callable[[str], NamedPage[Item]]) -> Iterator[Item]:
    """The items of all pages; `page_after` returns the page for a page token."""
    token = ""
    while True:
        page = page_after(token)
        yield from page.items
        token = page.next_page_token
        if not token:
            return


async def async_on_all_pages(page_after: Callable[[str], Awaitable[NamedPage[Item]]]) -> list[Item]:
    """The items of all pages, as a list, in an event loop."""
    items: list[Item] = []
    token = ""
    while True:
        page = await page_after(token)
        items += page.items
        token = page.next_page_token
        if not token:
            return items


class AsyncPages(AsyncIterator[PageT_co]):
    """Pages with the resume token of the end of each."""

    def __init__(self, pages: AsyncIterator[tuple[PageT_co, str]], resume_token: str = "") -> None:
        self._pages = pages
        self.resume_token = resume_token

    async def __anext__(self) -> PageT_co:
        page, self.resume_token = await anext(self._pages)
        return page


@dataclass(frozen=True, slots=True)
class AsyncMembers(Generic[PageT_co]):
    """`Members` for an event loop: `async for` yields the ids, and `pages` yields them page by page."""

    total: int
    version: int
    warnings: tuple[str, ...]
    pages: AsyncPages[PageT_co]

    @property
    def resume_token(self) -> str:
        """The position after the last page that was read; another call with it continues from there."""
        return self.pages.resume_token

    def __aiter__(self: "AsyncMembers[Iterable[Item]]") -> AsyncIterator[Item]:
        return _ids(self.pages)


async def _ids(pages: AsyncIterable[Iterable[Item]]) -> AsyncIterator[Item]:
    async for page in pages:
        for item in page:
            yield item
