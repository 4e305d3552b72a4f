"""AutoKD from Python: what the command line calls, as functions. Light.

``documents`` finds what a user names, ``calls`` are the public functions, ``study`` is what a
search hands back, ``listing`` what was searched here, ``progress`` how a search tells of itself
where there is no terminal. The public names are those of ``autokd.__all__``.
"""
