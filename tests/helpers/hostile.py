"""Text as an attacker would write it."""

from __future__ import annotations

# What a user may write: quotes, markup for HTML and for plotly, script ends, entities, directions,
# half a pair, 300 characters.
WORD = (
    """"'`><b id=evil>bold</b><script>window.evil=1</script></script>"""
    """<img src=x onerror="window.evil=1">&lt;i&amp;<a href="javascript:evil()">%{x}${1}"""
)
HOSTILE = (WORD + " \u202eüñ汉😀\ud83d\x07 " + "x" * 300)[:300]
