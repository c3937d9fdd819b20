"""How numbers are written in reports."""

_SMALLEST = {"p": 1e-300, "rate": 0.001}


def median_text(value: float) -> str:
    """A median of counts: `1,234`, and `2.5` where it lies between two."""
    return f"{value:,.1f}".removesuffix(".0")


def as_text(value: object, form: str | None) -> str:
    """A value as a table shows it; a dash where there is none.

    `form` is a format, "percent" for a share, "p" or "rate" for what cannot be zero though it may be too small to be
    told; `None` leaves a text as it is.
    """
    if form is None:
        return str(value)
    found = float(value)  # type: ignore[arg-type]
    if found != found:
        return "–"
    if form in _SMALLEST:
        return f"{found:.2g}" if found >= _SMALLEST[form] else f"< {_SMALLEST[form]:g}"
    return f"{100 * found:.1f}" if form == "percent" else form.format(found)
