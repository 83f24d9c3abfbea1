"""The windows of predicates, and when windows move."""

from bitseg.calendar import LAST_INSTANT_MS
from bitseg.index.context import Context
from bitseg.segment.nodes import Anniversary, Falls, InLast, InNext, MoreThanAgo, Predicate, Unit, Window
from bitseg.segment.windows import Interval, resolve


def window_of(predicate: Predicate) -> Window | None:
    """The window within a predicate, if it has one; TypeError for an unknown kind of predicate."""
    if isinstance(predicate, Falls | Anniversary):
        return predicate.window
    if isinstance(predicate, Predicate):
        return None
    raise TypeError(f"unknown kind of predicate: {type(predicate).__name__}")


def resolved(window: Window | None, context: Context) -> Interval | None:
    """The interval that a window means at the context's moment; None without a window."""
    return None if window is None else resolve(window, context.now_ms, context.calendar)


def next_move_ms(windows: list[Window], context: Context) -> int:
    """The first instant after the context's at which one of the windows may mean another interval."""
    if any(map(_slides, windows)):
        return context.now_ms + 1
    if not windows:
        return LAST_INSTANT_MS
    return context.calendar.day_start_ms(context.calendar.day_of(context.now_ms) + 1)


def _slides(window: Window) -> bool:
    """Whether the window moves with every millisecond rather than with the day."""
    if isinstance(window, InLast | InNext | MoreThanAgo):
        return window.duration.unit in (Unit.MINUTES, Unit.HOURS)
    if isinstance(window, Window):
        return False
    raise TypeError(f"unknown kind of window: {type(window).__name__}")
