"""Values as people read them."""


def readable_time(seconds: float) -> str:
    """Duration in words that fit its length.

    >>> readable_time(38.4), readable_time(151), readable_time(7384), readable_time(200000)
    ('38 s', '2 min 31 s', '2 h 03 min', '2 d 7 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
